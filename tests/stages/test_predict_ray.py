"""On Ray the same cases get the same answers, the same are refused, and a killed driver goes on."""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray
from phantoms.engines import decided_package, export_of
from phantoms.packages import make_package, make_plan
from stages.test_predict import config, conserved, tables, write_scan

from pipeline.domain.codes import Code
from pipeline.engines.onnx import Config as OnnxConfig
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_SOME_REJECTED, EngineError, StoppedBySignal
from pipeline.ledger import CaseOutcome, CaseRefusal, Ledger
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict import run
from pipeline.stages.predict_answer import CaseResult, Job, Limits
from pipeline.stages.predict_ray import RayExecutor, Reader, Runner, _exported_files, _files
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


class Actor:
    """Stands for Ray's handles of a class, of an actor and of a method, and counts what is asked of it."""

    made: Counter[str] = Counter()
    given: list[int | None] = []

    def __init__(self, kind: type | None = None) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> "Actor":
        return self

    def options(self, **_: object) -> "Actor":
        return self

    def remote(self, *arguments: object) -> object:
        if self._kind is not None:
            self.made[self._kind.__name__] += 1
            return Actor()
        self.given.extend(one.memory_bytes for one in arguments if isinstance(one, Limits))
        return object()


def test_readers_share_the_memory_of_this_machine_and_live_as_long_as_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 16 readers takes a sixteenth where nothing is said, not what a single one may; and alone all of it."""
    package = make_package(tmp_path / "package")
    job = Job(package.folder, TorchConfig(), ReadOptions(), Limits(16, 60, None))
    executor = RayExecutor(job, package, address="", runners=1, readers=16, processors=1)
    request = Request((), (), "C1", "P1", "T1", "S1", "", "")
    large = CaseRefusal(code=Code.TOO_LARGE, stage="predict", message="large", remedy="")
    for name, value in {
        "is_initialized": lambda: True,
        "remote": Actor,
        "put": lambda value: value,
        "wait": lambda pending, **_: (pending, []),
        "get": lambda _: CaseResult(request, CaseOutcome(refusal=large), 0.0),
    }.items():
        monkeypatch.setattr(ray, name, value)
    monkeypatch.setattr("pipeline.machine.memory_limit", lambda: 160 * 2**30)
    for _ in range(2):
        assert [one.request for one in executor.results([request])] == [request]
    assert Actor.given == [8 * 2**30, 128 * 2**30] * 2
    assert Actor.made == {"Reader": 16, "Runner": 1}


def test_a_runner_needs_neither_package_nor_export_of_the_caller(tmp_path: Path) -> None:
    package = decided_package(tmp_path / "package", ndim=2)
    folder = export_of(package, tmp_path / "export", to=["onnx"])
    engine = OnnxConfig(threads=1, exported=folder).resolve(package)
    job = Job(package.folder, engine, ReadOptions(), Limits(1, 60, None))
    files, exported = _files(package.folder), _exported_files(job)
    shutil.rmtree(package.folder)
    shutil.rmtree(folder)
    runner = Runner(files, exported, replace(job, package=Path()))
    runner.ready()
    assert runner._predictor.engine.name == "onnx"

    exported["network.onnx"] = exported["network.onnx"][:-1]
    with pytest.raises(EngineError, match="digest of network"):
        Runner(files, exported, job).ready()


def test_one_process_reads_case_after_case(tmp_path: Path) -> None:
    plan, options = make_plan(3), ReadOptions(modality="CT")
    for number in range(3):
        write_scan(tmp_path / f"{number}.nii", number)
    reader, limits = Reader(plan, options), Limits(1, 60, None)
    processes = set()
    for one in discover(tmp_path, options).series:
        assert reader.read((one,), limits).value is not None
        children = psutil.Process().children()
        processes |= {one.pid for one in children if any("spawn_main" in part for part in one.cmdline())}
    assert reader._read is not None
    reader._read.close()
    assert len(processes) == 1
