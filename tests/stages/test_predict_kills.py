"""Killed at any of fifty moments, or shared by processes that are killed, a batch loses no case and repeats none."""

import random
import signal
from pathlib import Path

import pytest
from phantoms.packages import make_package
from phantoms.predict_kills import begun, commits, committed, killed_at, predict_command
from phantoms.predicting import TABLES, write_scan

CASES, KILLS = 200, 50


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in sorted(TABLES - {"summary.json"})}


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("processes", [1, 2])
def test_fifty_kills_over_two_hundred_cases(tmp_path: Path, processes: int) -> None:
    model = make_package(tmp_path / "package").folder
    folder, key = tmp_path / "scans", tmp_path / "key"
    for number in range(CASES):
        write_scan(folder / f"{number}.nii.gz", number)
    (folder / "cut.nii.gz").write_bytes(write_scan(tmp_path / "whole.nii.gz", 999).read_bytes()[:-40])
    whole, out = tmp_path / "whole", tmp_path / "out"
    with begun(predict_command(model, folder, whole, key, processes=processes)) as process:
        process.communicate()
    assert process.returncode == 3

    command = predict_command(model, folder, out, key, processes=processes)
    moments = random.Random(20261126 + processes)
    kills, steps = 0, []
    while kills < KILLS:
        done = committed(out)
        status, now = killed_at(command, out, cases=done + moments.randint(0, 4), later=moments.uniform(0, 0.05))
        assert now >= done
        steps.append(now - done)
        kills += status == -signal.SIGKILL
        assert status in (-signal.SIGKILL, 3)
    with begun(command) as process:
        said = process.communicate()
    assert process.returncode == 3, said
    print(f"{kills} kills, cases between them: {steps}; {committed(out)} cases, {commits(out)} commits")
    assert committed(out) == commits(out) == CASES + 1
    assert tables(out) == tables(whole)
    assert not list(out.rglob(".tmp-*")) and not list(out.glob("*.lock"))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_of_two_processes_one_after_the_other_is_killed(tmp_path: Path) -> None:
    model = make_package(tmp_path / "package").folder
    folder, key = tmp_path / "scans", tmp_path / "key"
    for number in range(CASES):
        write_scan(folder / f"{number}.nii.gz", number)
    whole, out = tmp_path / "whole", tmp_path / "out"
    with begun(predict_command(model, folder, whole, key, processes=1)) as process:
        process.communicate()
    command = predict_command(model, folder, out, key, processes=1)
    moments = random.Random(5)
    with begun(command) as steady:
        for _ in range(6):
            killed_at(command, out, cases=committed(out) + moments.randint(5, 15), later=moments.uniform(0, 0.05))
        said = steady.communicate()
    assert steady.returncode == 0, said
    assert committed(out) == commits(out) == CASES
    assert tables(out) == tables(whole)
