import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import TrackingError
from pipeline.tracking.journal import FileJournal, journal_path, read_journal

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


@pytest.mark.parametrize("name", ["cohort.files.csv", "rejections.csv", "cohort.rejections.csv"])
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
