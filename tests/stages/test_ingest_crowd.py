"""Very many small files, one of twenty bad: each ends somewhere, and memory stays small."""

import csv
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from phantoms.crowds import write_crowd

MOST_BYTES = 500 * 10**6


def tree_of(process: int) -> list[int]:
    """A process and all below it."""
    found = [process]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [one for child in children.read_text().split() for one in tree_of(int(child))]
        except OSError:
            continue
    return found


def proportional_bytes(process: int) -> int:
    """Memory of a process in which shared pages count once among those that share them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def ingest(folder: Path, out: Path) -> tuple[int, int]:
    """Run the command; return its exit status and the most memory that it and its workers held."""
    run = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", run, "ingest", str(folder), "--out", str(out), "processes=2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while running.poll() is None:
        most = max(most, sum(map(proportional_bytes, tree_of(running.pid))))
        with suppress(subprocess.TimeoutExpired):
            running.wait(0.05)
    return running.returncode, most


def check(tmp_path: Path, files: int) -> int:
    expected = write_crowd(tmp_path / "scans", files)
    assert expected.total() == files
    status, most = ingest(tmp_path / "scans", tmp_path / "cohort.csv")
    assert status == 3
    with (tmp_path / "cohort.files.csv").open(newline="") as table:
        found = Counter(row["disposition"] for row in csv.DictReader(table))
    assert found == expected
    return most


def test_each_of_hundreds_of_files_ends_somewhere(tmp_path: Path) -> None:
    check(tmp_path, 300)


@pytest.mark.long
def test_ten_thousand_files_in_half_a_gigabyte(tmp_path: Path) -> None:
    most = check(tmp_path, 10_000)
    print(f"most memory of all processes: {most / 1e6:.0f} MB")
    if sys.platform == "linux":
        assert 50e6 < most < MOST_BYTES
