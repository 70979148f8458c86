"""Film strips on disk come back as they were, whole or not at all, and never lie outside their folder."""

from pathlib import Path

import pytest

from pipeline.errors import DiskFull, UsageError
from pipeline.writers.strip_files import load_strips, save_strips, strip_paths
from pipeline.writers.strips import Strips

STRIPS = Strips(9, 128, 96, b"slices", {"lesion": b"heat", "Lesion": b"other heat", "../../evil name": b"x"})


def test_strips_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "strips"
    save_strips(folder, "C-1f", STRIPS)
    save_strips(folder, "C-1", Strips(1, 2, 3, b"s", {}))

    assert load_strips(folder, "C-1f") == STRIPS
    assert load_strips(folder, "C-1") == Strips(1, 2, 3, b"s", {})
    assert list((load_strips(folder, "C-1f") or STRIPS).overlays) == list(STRIPS.overlays)
    assert sorted(path.name for path in folder.iterdir()) == [
        "C-1.json",
        "C-1.slices.png",
        "C-1f.0-lesion.png",
        "C-1f.1-Lesion.png",
        "C-1f.2-_evil_name.png",
        "C-1f.json",
        "C-1f.slices.png",
    ]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {path.name for path in folder.iterdir()}


def test_there_are_none(tmp_path: Path) -> None:
    assert load_strips(tmp_path, "C1") is None
    assert load_strips(tmp_path / "nowhere", "C1") is None


@pytest.mark.parametrize("case", ["", "..", "../C1", "a/b", "C 1", ".hidden", "C1.json", "C1\n", "*"])
def test_a_name_that_is_no_pseudonym_leads_nowhere(case: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pseudonym"):
        save_strips(tmp_path / "strips", case, STRIPS)
    assert not list(tmp_path.iterdir())
    assert load_strips(tmp_path, case) is None


def test_what_a_second_saving_leaves_of_the_first_is_known(tmp_path: Path) -> None:
    save_strips(tmp_path, "C1", STRIPS)
    save_strips(tmp_path, "C11", STRIPS)
    fewer = Strips(9, 128, 96, b"slices again", {"grade": b"heat"})
    written = save_strips(tmp_path, "C1", fewer)
    for path in strip_paths(tmp_path, "C1", [*STRIPS.overlays, "grade"]) - written:
        path.unlink(missing_ok=True)

    assert load_strips(tmp_path, "C1") == fewer
    assert load_strips(tmp_path, "C11") == STRIPS
    assert sorted(path.name for path in tmp_path.glob("C1.*")) == ["C1.0-grade.png", "C1.json", "C1.slices.png"]


def test_half_a_saving_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_strips(tmp_path, "C1", STRIPS)
    (tmp_path / "C1.0-lesion.png").write_bytes(b"of another time")
    assert load_strips(tmp_path, "C1") is None
    save_strips(tmp_path, "C1", STRIPS)
    (tmp_path / "C1.slices.png").unlink()
    assert load_strips(tmp_path, "C1") is None
    save_strips(tmp_path, "C1", STRIPS)
    (tmp_path / "C1.json").write_text("{", encoding="utf-8")
    assert load_strips(tmp_path, "C1") is None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save_strips(tmp_path, "C1", STRIPS)
    monkeypatch.setattr("pipeline.atomic._fsync", full)
    with pytest.raises(DiskFull):
        save_strips(tmp_path, "C1", Strips(1, 2, 3, b"s", {}))
    assert load_strips(tmp_path, "C1") == STRIPS
