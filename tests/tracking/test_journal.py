import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import DiskFull, TrackingError
from pipeline.tracking.journal import FileJournal, journal_path, read_journal
from pipeline.tracking.records import Metrics

WRITER = """
import sys
from pathlib import Path
from pipeline.tracking.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
step = 0
while True:
    journal.metrics({"loss": 1.0 / (step + 1)}, step)
    print(step, flush=True)
    step += 1
"""


def test_records_come_back_in_order_with_gapless_numbers(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "run")
    journal.params({"seed": 7, "lr": 0.1, "flip": True, "name": "x"})
    journal.metrics({"loss": 0.5, "bad": math.nan, "worse": math.inf}, step=3)
    journal.end("FINISHED")

    found = read_journal(tmp_path / "run")

    assert [record.kind for record in found] == ["opened", "params", "metrics", "ended"]
    assert [record.seq for record in found] == [1, 2, 3, 4]
    assert found[1].values == {"seed": "7", "lr": "0.1", "flip": "True", "name": "x"}
    assert found[2].step == 3
    assert found[2].values["loss"] == 0.5
    assert math.isnan(found[2].values["bad"])
    assert found[2].values["worse"] == math.inf
    for line in journal_path(tmp_path / "run").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "torn", [b'{"seq":3,"time_ms":1,"ki', b"\0\0\0\0\n", b'{"seq":9,"time_ms":1,"kind":"resumed"}\n']
)
def test_torn_last_line_is_ignored_and_cut_off_when_reopened(tmp_path: Path, torn: bytes) -> None:
    journal = FileJournal(tmp_path)
    journal.metrics({"loss": 1.0}, step=0)
    journal.close()
    path = journal_path(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    assert len(read_journal(tmp_path)) == 2
    again = FileJournal(tmp_path)
    again.metrics({"loss": 0.5}, step=1)

    assert path.read_bytes().startswith(whole)
    assert torn not in path.read_bytes()
    assert [(record.seq, record.kind) for record in read_journal(tmp_path)][2:] == [(3, "resumed"), (4, "metrics")]


def test_damage_in_the_middle_is_refused_with_the_line(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.metrics({"loss": 1.0}, step=0)
    journal.metrics({"loss": 0.5}, step=1)
    path = journal_path(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"metrics"', b'"netrics"', 1))

    with pytest.raises(TrackingError, match="damaged at line 2 of 3"):
        read_journal(tmp_path)


def test_what_was_acknowledged_survives_kill_minus_nine(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = -1
        while acknowledged < 20:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)

    steps = [record.step for record in read_journal(tmp_path) if record.kind == "metrics"]

    assert steps == list(range(len(steps)))
    assert len(steps) > acknowledged


@pytest.mark.parametrize(
    "name", ["cohort.files.csv", "files.csv", "rejections.csv", "cohort.rejections.csv", "retry.csv"]
)
def test_tables_with_identifiers_are_never_recorded(tmp_path: Path, name: str) -> None:
    journal = FileJournal(tmp_path / "run")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("path\n/scans/DOE^JANE\n")

    with pytest.raises(TrackingError, match="identifiers"):
        journal.artifact(tmp_path / "out" / name)
    with pytest.raises(TrackingError, match="identifiers"):
        journal.artifact(tmp_path / "out")
    assert "DOE" not in journal_path(tmp_path / "run").read_text()


def test_a_folder_without_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no journal"):
        read_journal(tmp_path)


def test_metrics_that_an_interrupted_run_repeats_stand_once(tmp_path: Path) -> None:
    """Also where the repetition measured otherwise, as times do: no metric has two values at one step."""
    journal = FileJournal(tmp_path)
    journal.metrics({"loss": 1.0, "seconds": 2.0}, step=1)
    journal.curve("step_loss", [(1, 0.5), (2, 0.25)])
    journal.close()
    again = FileJournal(tmp_path)
    again.metrics({"loss": 1.0, "seconds": 3.0}, step=1)
    again.metrics({"loss": 1.0, "new": 4.0}, step=1)
    again.curve("step_loss", [(1, 0.5), (2, 0.25), (3, 0.125)])
    found = [(r.step, r.values) for r in read_journal(tmp_path) if isinstance(r, Metrics)]
    assert found[:3] == [(1, {"loss": 1.0, "seconds": 2.0}), (1, {"step_loss": 0.5}), (2, {"step_loss": 0.25})]
    assert found[3:] == [(1, {"new": 4.0}), (3, {"step_loss": 0.125})]


def test_many_points_take_one_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, synced = FileJournal(tmp_path), []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal.curve("loss", [(step, 1.0 / step) for step in range(1, 501)])
    journal.curve("loss", [])
    assert len(synced) == 1
    assert [record.seq for record in read_journal(tmp_path)] == list(range(1, 502))


def test_a_disk_that_gets_full_within_a_record_leaves_none_of_it(tmp_path: Path) -> None:
    """The system takes a part of a write first, and refuses the rest only then."""
    journal = FileJournal(tmp_path)
    journal.metrics({"loss": 1.0}, step=1)
    file, left = journal._file, [30]

    class Full:
        def write(self, content: memoryview) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = file.write(content[: left[0]])
            left[0] -= taken
            return taken

        def __getattr__(self, name: str) -> object:
            return getattr(file, name)

    journal._file = Full()  # type: ignore[assignment]
    with pytest.raises(DiskFull, match=r"write .*journal\.jsonl: No space left"):
        journal.curve("loss", [(2, 1.0), (3, 1.0)])
    left[0] = 10**9
    journal.metrics({"loss": 0.5}, step=2)
    journal.close()
    assert [record.seq for record in read_journal(tmp_path)] == [1, 2, 3]
    assert FileJournal(tmp_path) is not None
