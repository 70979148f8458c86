"""On Ray the same cases get the same answers, the same are refused, and a killed driver goes on."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from phantoms.packages import make_package
from stages.test_predict import config, conserved, tables, write_scan

from pipeline.errors import EXIT_SOME_REJECTED, StoppedBySignal
from pipeline.ledger import Ledger
from pipeline.stages.predict import run


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    yield
    ray.shutdown()
    logging.getLogger("ray").handlers.clear()


@pytest.mark.timeout(600)
def test_ray_gives_the_same_tables_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_package(tmp_path / "package").folder
    scans, key = tmp_path / "scans", str(tmp_path / "key")
    for number in range(5):
        write_scan(scans / f"{number}.nii.gz", number)
    (scans / "cut.nii.gz").write_bytes(write_scan(tmp_path / "whole.nii.gz", 7).read_bytes()[:-40])
    assert run(config(model, scans, tmp_path / "local", key_file=key)).exit_code == EXIT_SOME_REJECTED

    left = [2]
    real = Ledger.commit

    def stopping(self: Ledger, *arguments: object, **rest: object) -> None:
        real(self, *arguments, **rest)  # type: ignore[arg-type]
        left[0] -= 1
        if not left[0]:
            raise StoppedBySignal("Stopped by SIGTERM.")

    settings = {"key_file": key, "executor": "ray", "processes": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "commit", stopping)
        with pytest.raises(StoppedBySignal):
            run(config(model, scans, tmp_path / "out", **settings))
    assert run(config(model, scans, tmp_path / "out", **settings)).exit_code == EXIT_SOME_REJECTED
    assert conserved(tmp_path / "out") == (6, 5, 0, 1, 5)
    assert tables(tmp_path / "out") == tables(tmp_path / "local")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
