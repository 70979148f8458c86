"""The report of an ingest, from files to page: what it counts, what it flags and what it warns of."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import write_labels
from pydicom.dataset import Dataset

from pipeline.stages import ingest

COUNT = 48
LONG = 5
"""The patient whose scan has many more slices than all others."""


def has_lesion(number: int) -> bool:
    return number % 2 == 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every patient with a lesion was scanned on one make, all others on another; a text file lies among them."""
    folder = tmp_path_factory.mktemp("report")
    for number in range(COUNT):

        def mark(dataset: Dataset, _: int, number: int = number) -> None:
            dataset.Manufacturer = "Nordlys Medical" if has_lesion(number) else "Meridian Imaging"
            dataset.PatientAge = f"{30 + number // 2 % 40:03d}Y"

        voxels = make_voxels((6, 5, 12 if number == LONG else 3), seed=number)
        write_series(
            folder / "scans" / str(number),
            voxels,
            identity=Identity.numbered(number + 1, patient_id=f"P{number}"),
            edit=mark,
        )
    (folder / "scans" / "notes.txt").write_text("no image")
    truth = ["yes" if has_lesion(number) else "no" for number in range(COUNT)]
    write_labels(folder / "labels.csv", {"PatientID": [f"P{number}" for number in range(COUNT)], "lesion": truth})
    return folder


@pytest.fixture(scope="module")
def said(written: Path) -> tuple[str, ...]:
    finding = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
    settings = {
        "scans": str(written / "scans"),
        "out": str(written / "out" / "cohort.csv"),
        "labels": {"file": str(written / "labels.csv"), "findings": [finding]},
        "processes": 0,
    }
    return tuple(ingest.run(ingest.Config.from_mapping(settings)).lines)


@pytest.fixture(scope="module")
def page(written: Path, said: tuple[str, ...]) -> str:
    return (written / "out" / "cohort.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def facts(written: Path, said: tuple[str, ...]) -> dict[str, Any]:
    return dict(json.loads((written / "out" / "cohort.report.json").read_text(encoding="utf-8")))


def test_a_make_that_tells_the_finding_is_warned_of_and_what_tells_nothing_is_not(
    said: tuple[str, ...], page: str, facts: dict[str, Any]
) -> None:
    warned = [line for line in said if "alone tells" in line]
    assert len(warned) == 1 and warned[0].startswith("vendor alone tells lesion (yes) with an AUROC of 1.00")
    assert warned[0] in page and warned[0] in facts["warnings"]
    found = {one["covariate"]: one["score"] for one in facts["shortcuts"]}
    assert found["vendor"]["low"] > 0.9 and found["age"]["low"] < 0.6
    assert page.count('<tr class="telling">') == 1


def test_counts_of_page_and_json_are_those_of_the_files(page: str, facts: dict[str, Any]) -> None:
    files = 3 * (COUNT - 1) + 12 + 1
    assert facts["files"] == {"inputs": files, "used": files - 1, "skipped": 1, "rejected": 0, "cases": COUNT}
    assert facts["steps"]["unsorted"]["by_code"] == {"NOT_AN_IMAGE": 1}
    assert (facts["steps"]["used_files"], facts["steps"]["used_series"]) == (files - 1, COUNT)
    assert sum(split["cases"] for split in facts["splits"].values()) == COUNT
    assert sum(counts["yes"] for counts in facts["labels"]["lesion"].values()) == COUNT // 2
    assert f">{files} files found</text>" in page and f">{COUNT} series used</text>" in page


def test_the_flagged_case_links_to_its_picture(page: str, facts: dict[str, Any]) -> None:
    (odd,) = {one["case"] for one in facts["outliers"]}
    assert {one["measure"] for one in facts["outliers"]} >= {"slices", "extent along the slices"}
    assert f'<a href="#{odd}">' in page and f'<figure id="{odd}">' in page


def test_the_page_stands_alone(page: str) -> None:
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|href)="([^#"][^"]*)"', page))
