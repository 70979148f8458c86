"""What every writer of pages must do."""

from pathlib import Path

import pytest
from phantoms.batches import chest, make_page, make_prediction, withheld

from pipeline.config import parts
from pipeline.errors import DiskFull
from pipeline.writers.page_content import CaseOnPage, PageWriter

PAGES = ("html",)
CASES = (
    CaseOnPage(make_prediction(1), chest(16, 3, seed=1, nodule=3)),
    CaseOnPage(make_prediction(2)),
    CaseOnPage(withheld(3, "too thick"), chest(16, 1, seed=3, nodule=3)),
)


@pytest.fixture(params=PAGES)
def writer(request: pytest.FixtureRequest) -> PageWriter:
    built: PageWriter = dict(parts("pipeline.writers"))[request.param]().build()  # type: ignore[attr-defined]
    return built


def test_equal_content_gives_equal_bytes(writer: PageWriter, tmp_path: Path) -> None:
    one, other = tmp_path / f"new folder/a{writer.suffix}", tmp_path / f"b{writer.suffix}"
    other.write_text("what stood there before", encoding="utf-8")
    old = (make_prediction(5), make_prediction(4), make_prediction(5, digest="0" * 64))
    page = make_page(CASES, superseded=old)
    writer.write(one, page)
    writer.write(other, make_page(CASES[::-1], superseded=old[::-1], refusals=page.refusals[::-1]))
    assert one.read_bytes() == other.read_bytes()
    assert list(one.parent.iterdir()) == [one]


def test_a_failure_leaves_the_old_file(writer: PageWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"page{writer.suffix}"
    writer.write(path, make_page(CASES[:1]))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.atomic._fsync", full)
    with pytest.raises(DiskFull, match="No space"):
        writer.write(path, make_page(CASES))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_part_of_the_content_has_its_effect(writer: PageWriter, tmp_path: Path) -> None:
    path = tmp_path / f"page{writer.suffix}"
    seen = set()
    for page in (
        make_page(CASES),
        make_page(CASES[:2]),
        make_page(CASES, refusals=()),
        make_page(CASES, superseded=(make_prediction(9),)),
    ):
        writer.write(path, page)
        seen.add(path.read_bytes())
    assert len(seen) == 4
