"""The table of what goes wrong with scans in hospitals: every row by its verdict; `print_oddities.py` prints it."""

import ast
from functools import cache
from pathlib import Path

import pytest
from oddities.row import Oddity, Phantom, Verdict, verdict_of
from oddities.table import ROWS, phantoms

from pipeline.domain.codes import Code

TESTS = Path(__file__).parent
LEAST_READ = 0.95
"""Of the phantoms that somebody could read, the part that must be accepted, and right."""

PHANTOMS = list(phantoms())


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict | str]:
    """What became of each phantom, in their order."""
    root = tmp_path_factory.mktemp("oddities")
    return [verdict_of(phantom, root / str(number)) for number, (_, phantom) in enumerate(PHANTOMS)]


@pytest.mark.parametrize("number", range(len(PHANTOMS)), ids=[f"{row.name}: {one.name}" for row, one in PHANTOMS])
def test_a_phantom_is_read_right_or_refused_as_it_must_be(verdicts: list[Verdict | str], number: int) -> None:
    """Voxels and millimetres are the known ones, or a code that the row allows says why not."""
    assert isinstance(verdicts[number], Verdict), verdicts[number]


def test_nearly_all_that_can_be_read_is_read(verdicts: list[Verdict | str]) -> None:
    found = [(phantom, verdict) for (_, phantom), verdict in zip(PHANTOMS, verdicts, strict=True)]
    right = [phantom for phantom, verdict in found if isinstance(verdict, Verdict) and verdict.right]
    refused = [phantom for phantom, verdict in found if phantom.is_volume and not is_right(verdict)]
    assert len(right) > 90
    assert len(right) >= LEAST_READ * (len(right) + len(refused)), [phantom.name for phantom in refused]


def is_right(verdict: Verdict | str) -> bool:
    return isinstance(verdict, Verdict) and verdict.right


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_tests_that_a_row_points_to_are_there(row: Oddity) -> None:
    assert row.phantoms or row.proofs
    for proof in row.proofs:
        file, name = proof.split("::")
        assert name in functions_of(file), proof


def test_a_wrong_voxel_a_wrong_millimetre_and_a_wrong_reason_show(tmp_path: Path) -> None:
    """The judge is no rubber stamp: what comes out is held against another truth, and against another code."""
    refused = next(phantom for _, phantom in PHANTOMS if phantom.name == "a middle one")
    right = next(phantom for _, phantom in PHANTOMS if phantom.name == "shuffled")

    def brighter(folder: Path) -> list[object]:
        return [(voxels + 1, place) for voxels, place in right.write(folder) or ()]

    def moved(folder: Path) -> list[object]:
        return [(voxels, place + [[0, 0, 0, 0.01]] * 4) for voxels, place in right.write(folder) or ()]

    def unrefused(folder: Path) -> None:
        right.write(folder)

    others = [
        Phantom("brighter", brighter),  # type: ignore[arg-type]
        Phantom("moved", moved),  # type: ignore[arg-type]
        Phantom("another reason", refused.write, codes=(Code.TILT,)),
        Phantom("not refused", unrefused, codes=refused.codes),
        Phantom("not noted", right.write, note="CONSTANT"),
    ]
    for number, phantom in enumerate(others):
        assert str(verdict_of(phantom, tmp_path / str(number))).startswith("WRONG"), phantom.name


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
