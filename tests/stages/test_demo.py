"""The demo: the whole way on a synthetic hospital. Its short form shows the way, the long proofs what is learned."""

import csv
import json
from pathlib import Path

import pytest

from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.score import Report, Score
from pipeline.errors import EXIT_OK, UsageError
from pipeline.stages import demo
from pipeline.stages.demo_hospital import VENDORS, make_patients
from pipeline.stages.outcome import Outcome

MESS = {
    "a series with its middle slice missing": "rejected GAP",
    "a file cut off in the middle": "rejected TRUNCATED",
    "the other slices of that series": "rejected INCOMPLETE",
    "the same image twice": "skipped DUPLICATE",
    "a scout beside the volume": "skipped LOCALIZER",
    "a report among the images": "skipped NOT_AN_IMAGE",
    "a series with a tilted gantry": "rejected TILT",
    "a Thumbs.db": "skipped NOT_AN_IMAGE",
    "a text file named .dcm": "rejected BAD_HEADER",
}


def run(folder: Path, **settings: object) -> Outcome:
    return demo.run(demo.Config.from_mapping({"out": str(folder), "processes": 0} | settings))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, short=True)


def test_the_closing_screen_names_every_piece_of_mess(short: tuple[Path, Outcome]) -> None:
    folder, outcome = short
    assert outcome.exit_code == EXIT_OK
    for what, verdict in MESS.items():
        (line,) = [line for line in outcome.lines if line.strip().startswith(f"{what}  ")]
        assert line.endswith(verdict), line
    named = [line.split()[0] for line in outcome.lines if line.startswith(f"  {folder}/")]
    assert len(named) == 4 and all(Path(name).is_file() for name in named)


def test_every_file_and_every_new_patient_is_accounted_for(short: tuple[Path, Outcome]) -> None:
    folder, _ = short
    files = load_files(folder / "manifests" / "cohort.csv").rows
    assert {Path(row.path) for row in files} == {p for p in (folder / "hospital" / "scans").rglob("*") if p.is_file()}
    assert len(load_manifest(folder / "manifests" / "cohort.csv").cases) == demo.SHORT_PATIENTS - 3  # gap, cut, tilt
    summary = json.loads((folder / "predictions" / "summary.json").read_text(encoding="utf-8"))
    assert summary["inputs"] == summary["used"] + summary["skipped"] + summary["rejected"]
    with (folder / "predictions" / "predictions.csv").open(encoding="utf-8", newline="") as table:
        assert len({row["patient"] for row in csv.DictReader(table)}) == demo.SHORT_UNSEEN


def test_the_vendor_tells_nothing_about_the_lesion() -> None:
    patients = make_patients(96, 1001, 2024)
    by_vendor = {vendor: [p.lesion for p in patients if p.vendor == vendor] for vendor in VENDORS}
    assert [sum(lesions) / len(lesions) for lesions in by_vendor.values()] == [0.5, 0.5]


def test_it_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_bytes(b"precious")
    with pytest.raises(UsageError, match="not empty"):
        run(tmp_path)


def unseen_auroc(folder: Path) -> Score:
    report = Report.model_validate_json((folder / "reports" / "unseen" / "report.json").read_bytes())
    return next(score for score in report.findings[0].scores if score.metric == "auroc")


@pytest.mark.long
def test_it_finds_the_lesion_in_patients_nobody_has_seen(tmp_path: Path) -> None:
    run(tmp_path)
    score = unseen_auroc(tmp_path)
    assert score.value is not None and score.value >= 0.85 and score.cases == 40


@pytest.mark.long
def test_with_shuffled_labels_it_finds_nothing(tmp_path: Path) -> None:
    run(tmp_path, shuffle_labels=True)
    score = unseen_auroc(tmp_path)
    assert score.low is not None and score.high is not None and score.low <= 0.5 <= score.high
