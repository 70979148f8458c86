"""``resdx predict`` as a program of its own, to be killed; and what its ledger says, seen from outside."""

import contextlib
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

LEDGER = "ledger.sqlite"


def predict_command(
    model: Path, scans: Path, out: Path, key: Path, *, processes: int, settings: tuple[str, ...] = ()
) -> list[str]:
    """The command on one thread, so that bits can be compared."""
    code = "from pipeline.cli import main; main()"
    arguments = ["predict", str(model), str(scans), "--out", str(out), "--modality", "CT"]
    given = [f"key_file={key}", f"processes={processes}", "engine.kind=torch", "engine.threads=1", *settings]
    return [sys.executable, "-c", code, *arguments, *given]


def begun(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(command: list[str], out: Path, *, cases: int, later: float = 0.0) -> tuple[int, int]:
    """Kill a command when so many cases have been committed, and a moment later; return its status and their number."""
    with begun(command) as process:
        while committed(out) < cases and process.poll() is None:
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(later)
        process.kill()
        process.communicate()
    return process.returncode, committed(out)


def committed(out: Path) -> int:
    """Cases in the ledger; 0 before it is there."""
    return _ask(out, "SELECT count(*) FROM outcomes")


def commits(out: Path) -> int:
    """How often a case was committed, ever: as many as there are cases where none was predicted twice."""
    return _ask(out, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence")


def _ask(out: Path, question: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{out / LEDGER}?mode=ro", uri=True)) as connection:
            return int(connection.execute(question).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def predicted_by(log: str) -> int:
    """Cases that a process predicted, by what it said on its way."""
    return sum(int(count) for count in re.findall(r"predict cases: (\d+) done", log))
