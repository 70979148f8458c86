"""Memory that runs out costs time, or one case; never the batch, and no answer is another one for it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.predicting import codes, config, conserved, summary, tables, write_scan

from pipeline.engines.engine import Answer
from pipeline.engines.torch.eager import TorchEngine
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED
from pipeline.stages.predict import run

MIB = 2**20


def test_a_scan_too_large_beside_others_is_read_alone(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A scan of 67 MiB takes about 275 MiB to prepare: more than one of two workers may take, less than both may."""
    caplog.set_level("INFO")
    scans, key = tmp_path / "scans", str(tmp_path / "key")
    write_scan(scans / "large.nii", 0, (260, 260, 260))
    for number in range(1, 4):
        write_scan(scans / f"{number}.nii", number)
    short = {"processes": 2, "memory_bytes": 200 * MIB, "key_file": key}
    assert run(config(model, scans, tmp_path / "out", **short)).exit_code == EXIT_OK
    assert "tried again alone" in caplog.text
    assert conserved(tmp_path / "out") == (4, 4, 0, 0, 4)
    run(config(model, scans, tmp_path / "ample", processes=0, key_file=key))
    assert tables(tmp_path / "out") == tables(tmp_path / "ample")

    single = {"processes": 1, "memory_bytes": 200 * MIB, "key_file": key}
    assert run(config(model, scans, tmp_path / "single", **single)).exit_code == EXIT_SOME_REJECTED
    assert codes(tmp_path / "single") == codes(tmp_path / "single", "retry.csv") == {"large.nii": "TOO_LARGE"}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
    ],
    ids=["python", "cpu", "cuda"],
)
def test_a_network_that_memory_does_not_hold_costs_its_case(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    scans = tmp_path / "scans"
    for number in range(3):
        write_scan(scans / f"{number}.nii", number)
    left = [2]
    real = TorchEngine.answer

    def short(self: TorchEngine, images: NDArray[np.float32]) -> Answer:
        left[0] -= 1
        if left[0] == 0:
            raise error
        return real(self, images)

    monkeypatch.setattr(TorchEngine, "answer", short)
    outcome = run(config(model, scans, tmp_path / "out"))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert (
        list(codes(tmp_path / "out").values()) == list(codes(tmp_path / "out", "retry.csv").values()) == ["TOO_LARGE"]
    )
    assert run(config(model, scans, tmp_path / "out")).exit_code == EXIT_OK  # memory is there the next time
    assert conserved(tmp_path / "out") == (3, 3, 0, 0, 3)


def test_an_error_that_nobody_foresaw_costs_its_case_and_is_shown_to_who_debugs(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        write_scan(tmp_path / "scans" / f"{number}.nii", number)
    left = [1]
    real = TorchEngine.answer

    def broken(self: TorchEngine, images: NDArray[np.float32]) -> Answer:
        left[0] -= 1
        if left[0] < 0:
            return real(self, images)
        raise RuntimeError("shapes of Doe^Jane do not fit")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchEngine, "answer", broken)
        assert run(config(model, tmp_path / "scans", tmp_path / "out")).exit_code == EXIT_SOME_REJECTED
        assert list(codes(tmp_path / "out", "retry.csv").values()) == ["INTERNAL"]
        assert "Doe" not in (tmp_path / "out" / "rejections.csv").read_text()
        caplog.set_level("DEBUG", "resdx")
        left[0] = 1
        with pytest.raises(RuntimeError, match="do not fit"):
            run(config(model, tmp_path / "scans", tmp_path / "out"))
    assert run(config(model, tmp_path / "scans", tmp_path / "out")).exit_code == EXIT_OK
    assert summary(tmp_path / "out")["cases"] == 2
