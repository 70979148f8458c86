"""A folder that is followed: nothing is read while it is written, and what comes later supersedes what was said."""

import csv
import logging
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from phantoms.dicom_series import make_voxels, write_series
from phantoms.predict_kills import begun, committed, predict_command
from phantoms.predicting import config, conserved, rows, summary, tables, write_scan

from pipeline.domain.series import SourceFile
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_OK, EXIT_SIGTERM, EXIT_SOME_REJECTED, RejectedInput, StoppedBySignal, UsageError
from pipeline.stages import predict, predict_local, predict_watch
from pipeline.stages.predict import run
from pipeline.stages.predict_watch import Quiet


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def file(name: str, size: int = 1, modified: int = 5) -> SourceFile:
    return SourceFile(Path("/scans") / name, name, size, modified_ns=modified)


def test_a_file_is_quiet_when_it_has_not_changed_for_so_long_as_this_process_saw() -> None:
    clock = Clock()
    quiet = Quiet(30, clock)
    a, b = Path("/scans/a"), Path("/scans/b")
    assert quiet.restless([file("a")]) == {a}, "old times are no sign: copies keep those of the original"
    clock.now = 29
    assert quiet.restless([file("a"), file("b")]) == {a, b}
    clock.now = 30
    assert quiet.restless([file("a"), file("b")]) == {b}
    clock.now = 60
    assert quiet.restless([file("a", size=2), file("b", modified=6)]) == {a, b}
    clock.now = 90
    assert quiet.restless([file("a", size=2), file("b", modified=6)]) == frozenset()
    assert quiet.restless([file("b", modified=6)]) == frozenset()
    assert quiet.restless([file("a", size=2)]) == {a}, "what was gone is new"


def follow(
    model: Path,
    scans: Path,
    out: Path,
    happenings: list[Callable[[], Any]],
    monkeypatch: pytest.MonkeyPatch,
    modality: str = "",
) -> list[dict[str, Any]]:
    """Follow a folder; before each further look something happens and ten seconds pass; SIGTERM ends it."""
    clock, seen = Clock(), []

    def wait(seconds: float) -> None:
        seen.append(summary(out) | {"predictions": rows(out / "predictions.csv")})
        clock.now += seconds
        if not happenings:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            happenings.pop(0)()

    monkeypatch.setattr(predict_watch, "Quiet", partial(Quiet, clock=clock))
    monkeypatch.setattr(predict, "watch", partial(predict_watch.watch, wait=wait))
    with pytest.raises(StoppedBySignal) as stopped:
        settings = {"enabled": True, "quiet_seconds": 15, "every_seconds": 10}
        run(config(model, scans, out, modality=modality, watch=settings))
    assert stopped.value.exit_code == EXIT_SIGTERM
    return seen


def nothing() -> None:
    pass


def test_slices_that_come_late_make_another_prediction_and_the_earlier_one_is_superseded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving, scans, out = tmp_path / "arriving", tmp_path / "scans", tmp_path / "out"
    files = write_series(arriving, make_voxels((14, 12, 9), high=200), spacing=(2.0, 2.0, 2.0))
    (scans / "study").mkdir(parents=True)

    def bring(*which: int) -> None:
        for index in which:
            shutil.copy2(files[index], scans / "study")

    happenings = [
        partial(bring, 0, 1, 2),
        partial(bring, 3, 4),  # within the quiet time: the series is waited for
        nothing,
        nothing,
        partial(bring, 5, 7, 8),  # a gap: what stood is no longer true of the scan
        nothing,
        nothing,
        partial(bring, 6),
        nothing,
        nothing,
    ]
    seen = follow(model, scans, out, happenings, monkeypatch)
    cases = [found["cases"] for found in seen]
    assert cases == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert [found["inputs"] for found in seen] == [0, 0, 0, 0, 5, 0, 0, 8, 0, 0, 9]
    assert seen[7]["codes"] == {"GAP": 1, "INCOMPLETE": 7}
    first, last = seen[4]["predictions"][0], seen[10]["predictions"][0]
    assert first["case"] == last["case"] and first["digest"] != last["digest"]
    (old,) = rows(out / "superseded.csv")
    assert (old["status"], old["superseded_by"]) == ("SUPERSEDED", last["digest"])
    assert {name: old[name] for name in first} == first
    assert summary(out)["superseded"] == 1
    conserved(out)


def test_looks_at_a_folder_in_which_nothing_happens_say_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    os.utime(scans / "a.nii", (0, 0))  # so old that the index remembers it
    said: list[int] = []

    def look() -> None:
        said.append(sum(record.levelno >= logging.INFO for record in caplog.records))

    with caplog.at_level(logging.INFO, logger="resdx"):
        follow(model, scans, out, [look] * 6, monkeypatch, modality="CT")
    first, second, *later = said
    assert 0 < first == second, "it arrives, and is not said to arrive again"
    assert later[0] > second, "it was predicted"
    assert set(later) == {later[0]}


def test_a_scan_that_came_back_as_it_was_is_no_longer_superseded(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    run(config(model, scans, out))
    before = tables(out)
    write_scan(scans / "a.nii", 1)
    run(config(model, scans, out))
    assert len(rows(out / "superseded.csv")) == 1
    write_scan(scans / "a.nii", 0)
    run(config(model, scans, out))
    changed = tables(out)
    assert len(rows(out / "superseded.csv")) == 1
    changed.pop("superseded.csv"), before.pop("superseded.csv")
    assert changed == before


def test_a_scan_that_is_gone_is_absent_and_not_superseded(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for number in range(2):
        write_scan(scans / f"{number}.nii", number)
    run(config(model, scans, out))
    (scans / "1.nii").unlink()
    outcome = run(config(model, scans, out))
    (gone,) = rows(out / "superseded.csv")
    assert (gone["status"], gone["superseded_by"]) == ("ABSENT", "")
    assert (summary(out)["superseded"], summary(out)["absent"], summary(out)["cases"]) == (0, 1, 1)
    assert any("1 earlier predictions are of scans that are gone" in line for line in outcome.lines)


def test_a_copy_that_arrives_of_what_was_read_changes_nothing_until_it_is_quiet(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    (first, *_) = write_series(scans / "1", make_voxels((14, 12, 9), high=200), spacing=(2.0, 2.0, 2.0))
    happenings = [nothing, nothing, partial(shutil.copy, first, scans / "copy.dcm"), nothing, nothing]
    seen = follow(model, scans, out, happenings, monkeypatch)
    assert [found["cases"] for found in seen] == [0, 0, 1, 1, 1, 1]
    assert [found["skipped"] for found in seen] == [0, 0, 0, 0, 0, 1]


def test_nothing_is_written_while_nothing_changes_and_passing_refusals_are_not_tried_at_every_look(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    tried, stamps = [], []

    def busy(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise RejectedInput("TIMEOUT", "said so")

    def note() -> None:
        stamps.append({path.name: path.stat().st_mtime_ns for path in out.iterdir() if "ledger" not in path.name})

    monkeypatch.setattr(predict_local, "prepare_series", busy)
    seen = follow(model, scans, out, [nothing, nothing, note, nothing, note], monkeypatch, modality="CT")
    assert seen[-1]["codes"] == {"TIMEOUT": 1}
    assert tried == [1]
    assert stamps[0] == stamps[1] != {}


def test_what_was_predicted_before_stays_in_the_tables_when_following_begins_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    run(config(model, scans, out))
    before = tables(out)
    seen = follow(model, scans, out, [partial(write_scan, scans / "b.nii", 1)], monkeypatch, modality="CT")
    assert [found["cases"] for found in seen] == [1, 1]
    assert tables(out) == before


def test_it_ends_by_itself_when_nothing_comes(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii", 0)
    settings = {"enabled": True, "quiet_seconds": 0, "every_seconds": 0.01, "idle_seconds": 0.05}
    outcome = run(config(model, tmp_path / "scans", tmp_path / "out", watch=settings))
    assert outcome.exit_code == EXIT_OK
    assert conserved(tmp_path / "out") == (1, 1, 0, 0, 1)


@pytest.mark.parametrize("leaves_a_folder", [True, False])
def test_a_share_that_comes_and_goes_is_waited_for(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    leaves_a_folder: bool,
) -> None:
    scans, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    write_scan(scans / "a.nii", 0)

    def unmount() -> None:
        scans.rename(elsewhere)
        if leaves_a_folder:
            scans.mkdir()

    def mount() -> None:
        if leaves_a_folder:
            scans.rmdir()
        elsewhere.rename(scans)

    happenings = [nothing, nothing, unmount, nothing, mount, nothing, nothing]
    seen = follow(model, scans, tmp_path / "out", happenings, monkeypatch, modality="CT")
    assert [found["cases"] for found in seen] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert caplog.text.count("Is it mounted?" if leaves_a_folder else "does not exist") == 1, "said once"


def test_a_share_that_is_not_mounted_empties_no_table(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    run(config(model, scans, out))
    before = tables(out)
    scans.rename(tmp_path / "elsewhere")
    scans.mkdir()
    with pytest.raises(UsageError, match=r"1 cases of it are in the ledger.*mounted"):
        run(config(model, scans, out))
    assert tables(out) == before
    scans.rmdir()
    (tmp_path / "elsewhere").rename(scans)
    assert run(config(model, scans, out)).exit_code == EXIT_OK
    assert tables(out) == before


def test_the_command_follows_a_folder_until_sigterm(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_scan(scans / "a.nii", 0)
    quick = ("watch.quiet_seconds=0", "watch.every_seconds=0.1")
    command = predict_command(model, scans, out, tmp_path / "key", processes=0, settings=quick)
    command.insert(command.index("--modality"), "--watch")
    with begun(command) as process:
        while committed(out) < 1 and process.poll() is None:
            pass
        write_scan(tmp_path / "b.nii", 1).rename(scans / "b.nii")
        (scans / "c.nii").write_bytes(b"")
        while not (committed(out) == 2 and _rejected(out)) and process.poll() is None:
            pass
        process.terminate()
        out_text, err_text = process.communicate()
    assert process.returncode == EXIT_SIGTERM, (out_text, err_text)
    assert "Stopped by SIGTERM" in err_text
    assert conserved(out) == (3, 2, 0, 1, 2)
    assert not list(out.glob("*.lock"))
    assert run(config(model, scans, out, key_file=str(tmp_path / "key"))).exit_code == EXIT_SOME_REJECTED


def _rejected(out: Path) -> int:
    try:
        with (out / "rejections.csv").open(encoding="utf-8", newline="") as table:
            return len(list(csv.DictReader(table)))
    except FileNotFoundError:
        return 0


def test_the_model_is_loaded_once_for_all_passes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    kind = TorchConfig
    real = kind.build
    monkeypatch.setattr(kind, "build", lambda self, package: built.append(1) or real(self, package))
    scans = tmp_path / "scans"
    write_scan(scans / "a.nii", 0)
    happenings = [partial(write_scan, scans / f"{name}.nii", number) for number, name in enumerate("bc", start=1)]
    follow(model, scans, tmp_path / "out", [*happenings, nothing, nothing], monkeypatch, modality="CT")
    assert conserved(tmp_path / "out") == (3, 3, 0, 0, 3)
    assert built == [1]
