"""On Ray the same cases get the same answers, the same are refused, and a killed driver goes on."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from phantoms.engines import decided_package, export_of
from phantoms.packages import make_package
from phantoms.predicting import config, conserved, tables, write_scan

from pipeline.domain.codes import Code
from pipeline.engines.onnx import Config as OnnxConfig
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_SOME_REJECTED, EngineError, StoppedBySignal
from pipeline.ledger import CaseOutcome, CaseRefusal, Ledger
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict import run
from pipeline.stages.predict_answer import CaseResult, Job, Limits
from pipeline.stages.predict_ray import RayExecutor, Runner, _exported_files, _files
from pipeline.stages.predict_requests import Request


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    yield
    ray.shutdown()
    logging.getLogger("ray").handlers.clear()


@pytest.mark.timeout(600)
def test_ray_gives_the_same_tables_and_goes_on(tmp_path: Path) -> None:
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
    ray.shutdown()  # as at the end of the process that was stopped
    assert run(config(model, scans, tmp_path / "out", **settings)).exit_code == EXIT_SOME_REJECTED
    assert conserved(tmp_path / "out") == (6, 5, 0, 1, 5)
    assert tables(tmp_path / "out") == tables(tmp_path / "local")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_readers_share_the_memory_of_this_machine_and_what_is_too_large_is_tried_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 16 readers takes a sixteenth where nothing is said, not what a single one may; and alone all of it."""
    package = make_package(tmp_path / "package")
    job = Job(package.folder, TorchConfig(), ReadOptions(), Limits(16, 60, None))
    executor = RayExecutor(job, package, address="", runners=1, readers=16, processors=1)
    request = Request((), (), "C1", "P1", "T1", "S1", "", "")
    large = CaseRefusal(code=Code.TOO_LARGE, stage="predict", message="large", remedy="")
    given: list[tuple[int | None, int]] = []

    def data_set(asked: list[Request], limits: Limits, readers: int) -> Iterator[CaseResult]:
        given.append((limits.memory_bytes, readers))
        yield from (CaseResult(one, CaseOutcome(refusal=large), 0.0) for one in asked)

    monkeypatch.setattr(executor, "_connect", lambda: None)
    monkeypatch.setattr(executor, "_data_set", data_set)
    monkeypatch.setattr("pipeline.machine.memory_limit", lambda: 160 * 2**30)
    assert [one.request for one in executor.results([request])] == [request]
    assert given == [(8 * 2**30, 16), (128 * 2**30, 1)]


def test_a_runner_needs_neither_package_nor_export_of_the_caller(tmp_path: Path) -> None:
    package = decided_package(tmp_path / "package", ndim=2)
    folder = export_of(package, tmp_path / "export", to=["onnx"])
    engine = OnnxConfig(threads=1, exported=folder).resolve(package)
    job = Job(package.folder, engine, ReadOptions(), Limits(1, 60, None))
    files, exported = _files(package.folder), _exported_files(job)
    shutil.rmtree(package.folder)
    shutil.rmtree(folder)
    runner = Runner(files, exported, replace(job, package=Path()))
    assert runner._predictor.engine.name == "onnx"

    exported["network.onnx"] = exported["network.onnx"][:-1]
    with pytest.raises(EngineError, match="digest of network"):
        Runner(files, exported, job)
