"""The folders of a prediction: nothing among the scans, nothing of others swept away, what is in the way is named."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest
from phantoms.predicting import config, conserved, rows, write_scan

from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, EngineError, OutputError, UsageError
from pipeline.ledger import open_ledger
from pipeline.stages import predict_local
from pipeline.stages.predict import LEDGER, run
from pipeline.stages.predict_folders import sweep


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "scans"
    for place in (folder, folder / "deep" / "er"):
        write_scan(place / "a.nii.gz", 0)
    return folder


def test_a_folder_without_a_file_is_no_failure(model: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    outcome = run(config(model, tmp_path / "scans", tmp_path / "out"))
    assert outcome.exit_code == EXIT_OK
    assert "The folder holds no file." in outcome.lines
    assert conserved(tmp_path / "out") == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(("kind", "name"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_an_engine_whose_library_is_missing_is_refused_before_anything_is_made(
    kind: str, name: str, model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=rf'{name} is not installed.*pip install "resdx\[{kind}\]"'):
        run(config(model, scans, tmp_path / "out", engine={"kind": kind}))
    assert not (tmp_path / "out").exists()


def test_no_key_is_made_among_the_scans(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESDX_KEY_FILE", str(scans / "key"))
    for settings in ({}, {"key_file": str(scans / "deep" / "key")}):
        with pytest.raises(UsageError, match="lies in the folder of scans"):
            run(config(model, scans, tmp_path / "out", **settings))
    assert not list(scans.rglob("*key*"))


def test_nothing_is_written_among_the_scans(model: Path, scans: Path) -> None:
    for out in (scans, scans / "predictions", scans / "deep" / ".." / "out"):
        with pytest.raises(UsageError, match="lies in the folder of scans"):
            run(config(model, scans, out))
    assert not list(scans.rglob("*.csv"))
    with pytest.raises(UsageError, match="does not exist"):
        run(config(model, scans / "absent", scans.parent / "out"))
    with pytest.raises(UsageError, match="is no folder and no ZIP archive"):
        run(config(model, next(scans.glob("*.nii.gz")), scans.parent / "out"))


def test_an_inbox_within_the_folder_of_results_is_refused_and_left_as_it_is(model: Path, tmp_path: Path) -> None:
    inbox, beside = tmp_path / "out" / "inbox", tmp_path / "beside"
    write_scan(inbox / ".tmp-half.nii")  # a transfer on its way
    beside.symlink_to(inbox)
    for scans in (inbox, beside):
        with pytest.raises(UsageError, match="lies in --out"):
            run(config(model, scans, tmp_path / "out"))
    assert [path.name for path in inbox.iterdir()] == [".tmp-half.nii"]
    assert list((tmp_path / "out").iterdir()) == [inbox]


def test_an_out_that_is_a_file_is_named(model: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a folder")
    for out in (tmp_path / "notes", tmp_path / "notes" / "out"):
        with pytest.raises(UsageError, match=f"{out} is a file"):
            run(config(model, scans, out))


def test_what_a_killed_process_left_is_swept_up_and_nothing_else(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = ".tmp-0123456789abcdef"
    swept = [out / f"{left}.csv", *(out / name / left for name in ("pictures", "heatmaps", "dicom"))]
    kept = [out / "mine" / left, out / ".tmp-folder" / "1", out / ".tmp-notes", out / "pictures" / "C1.png"]
    for path in swept + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    write_scan(tmp_path / "scans" / "1.nii", 1)
    run(config(model, tmp_path / "scans", out, key_file=str(tmp_path / "key")))
    assert not any(path.exists() for path in swept)
    assert all(path.exists() for path in kept)


def test_a_folder_that_cannot_be_written_is_named_and_costs_no_case(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(2):
        write_scan(tmp_path / "scans" / f"{number}.nii", number)
    out.mkdir()
    (out / "pictures").touch()
    with pytest.raises(OutputError, match=r"out/pictures.* cannot be written"):
        run(config(model, tmp_path / "scans", out))
    (out / "pictures").unlink()
    assert run(config(model, tmp_path / "scans", out)).exit_code == EXIT_OK
    assert conserved(out) == (2, 2, 0, 0, 2)


def test_a_name_that_is_no_text_may_be_given_to_the_folder(model: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"o_\xff")
    write_scan(tmp_path / "scans" / "a.nii", 0)
    assert run(config(model, tmp_path / "scans", out)).exit_code == EXIT_OK
    with (out / "predictions.parquet").open("rb") as stream:
        assert pq.read_table(stream).num_rows == 1


def test_an_archive_that_is_written_anew_while_it_is_read_costs_nothing_in_the_end(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    with ZipFile(scans / "a.zip", "w") as archive:
        for number in range(3):
            archive.write(write_scan(tmp_path / f"{number}.nii", number), f"{number}.nii")
    whole = (scans / "a.zip").read_bytes()
    real = predict_local.prepare_series

    def cut(slots: Any, **rest: Any) -> Any:
        (scans / "a.zip").write_bytes(whole[: len(whole) // 2])
        return real(slots, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_local, "prepare_series", cut)
        assert run(config(model, scans, out)).exit_code == EXIT_SOME_REJECTED
    assert {row["code"] for row in rows(out / "rejections.csv")} <= {"CHANGED", "UNREADABLE"}
    (scans / "a.zip").write_bytes(whole)
    assert run(config(model, scans, out)).exit_code == EXIT_OK
    (scans / "a.zip").write_bytes(whole[: len(whole) // 2])
    assert run(config(model, scans, out)).exit_code == EXIT_SOME_REJECTED, "damaged, and not taken for unmounted"
    assert conserved(out) == (1, 0, 0, 1, 0)


def test_files_that_somebody_removed_are_told_and_made_again_where_asked(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    run(config(model, scans, out))
    before = {path.name: path.read_bytes() for path in (out / "pictures").iterdir()}
    shutil.rmtree(out / "pictures")
    run(config(model, scans, out))
    assert "files of 1 cases were removed" in caplog.text
    run(config(model, scans, out, retry=True))
    assert {path.name: path.read_bytes() for path in (out / "pictures").iterdir()} == before


def test_a_file_that_a_process_writes_which_came_meanwhile_is_not_swept_away(tmp_path: Path) -> None:
    old, clock = tmp_path / ".tmp-00000000000000ff", tmp_path / "clock"
    old.write_text("of a process that was killed")
    clock.touch()
    while clock.stat().st_ctime_ns <= old.stat().st_ctime_ns:  # a file system's clock ticks every few milliseconds
        clock.touch()
    with open_ledger(tmp_path / LEDGER) as one, open_ledger(tmp_path / LEDGER) as other:
        (tmp_path / ".tmp-new").write_text("of a process that lives")
        for ledger in (one, other):
            sweep(tmp_path, before_ns=ledger.since_ns)
            assert [path.name for path in tmp_path.glob(".tmp-*")] == [".tmp-new"]
