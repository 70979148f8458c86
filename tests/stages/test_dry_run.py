"""The dry run: what the rules would do, told in counts, from headers alone, and nothing left behind."""

from pathlib import Path

import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import content_of
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cohort.rehearsal import rehearse
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series
from pipeline.domain.series import Identity as Identified
from pipeline.errors import EXIT_OK
from pipeline.stages import ingest

CANARY = "MUELLER"


def write(folder: Path, patient: int, at: int, thick: float, modality: str = "CT", kernel: str = "B30f") -> None:
    def edit(dataset: object, _: int) -> None:
        dataset.SeriesDescription = f"{CANARY} thin"  # type: ignore[attr-defined]
        dataset.ConvolutionKernel = kernel  # type: ignore[attr-defined]

    write_series(
        folder / str(patient) / str(at),
        make_voxels((5, 4, 4), seed=10 * patient + at),
        identity=Identity.numbered(patient, patient_name=CANARY).another_series(at),
        modality=modality,
        spacing=(1.0, 1.0, thick),
        edit=edit,
    )


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three studies: one thick and thin CT, one thin CT and MR, one with two thin CT."""
    folder = tmp_path / CANARY / "scans"
    write(folder, 1, 1, 5.0)
    write(folder, 1, 2, 1.0)
    write(folder, 2, 1, 1.0, kernel="B70s")
    write(folder, 2, 2, 4.0, "MR")
    write(folder, 3, 1, 1.0)
    write(folder, 3, 2, 1.0)
    return folder


def lines(scans: Path, **select: object) -> list[str]:
    out = scans.parent / "out" / "cohort.csv"
    key = scans.parent / "key"
    settings = {"scans": str(scans), "out": str(out), "select": select, "dry_run": True, "key_file": str(key)}
    before = content_of(scans.parent)
    outcome = ingest.run(ingest.Config.from_mapping(settings))
    assert outcome.exit_code == EXIT_OK
    assert content_of(scans.parent) == before and not key.exists() and not out.parent.exists(), "it wrote something"
    assert CANARY not in "\n".join(outcome.lines)
    return list(outcome.lines)


def test_each_rule_says_what_it_takes_and_drops(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "describe", None)
    said = lines(scans, modality=["CT"], slice_thickness={"max": 2}, kernel="B[23].*")
    assert said == [
        "6 series of 3 studies, by their headers: 4 x CT axial 1 mm; 1 x CT axial 5 mm; 1 x MR axial 4 mm",
        "select.modality: takes 5 (4 x CT axial 1 mm; 1 x CT axial 5 mm); drops 1 (1 x MR axial 4 mm)",
        "select.slice_thickness: takes 4 (4 x CT axial 1 mm); drops 2 (1 x CT axial 5 mm; 1 x MR axial 4 mm)",
        "select.kernel: takes 5 (3 x CT axial 1 mm; 1 x CT axial 5 mm; 1 x MR axial 4 mm); drops 1 (1 x CT axial 1 mm)",
        "Dropped, CT axial 1 mm: 1 series, by kernel (1)",
        "Dropped, CT axial 5 mm: 1 series, by slice_thickness (1)",
        "Dropped, MR axial 4 mm: 1 series, by modality (1), slice_thickness (1)",
        "Cases: 1, before labels and before any pixel is read.",
        "Ambiguous studies (AMBIGUOUS_SERIES): 1 (2 x CT axial 1 mm)",
        "Skipped, NOT_SELECTED: 3 series of 2 studies (1 x CT axial 1 mm; 1 x CT axial 5 mm; 1 x MR axial 4 mm)",
        "Dry run: no pixel was read, nothing was written.",
    ]


def test_channels_are_judged_on_what_the_general_rules_leave(scans: Path) -> None:
    channels = [{"name": "thin", "slice_thickness": {"max": 2}}, {"name": "thick", "slice_thickness": {"min": 3}}]
    said = lines(scans, modality=["CT"], channels=channels)
    assert "channel thin.slice_thickness: takes 4 (4 x CT axial 1 mm); drops 1 (1 x CT axial 5 mm)" in said
    assert "channel thick: takes 1 (1 x CT axial 5 mm)" in said
    assert "Cases: 1, before labels and before any pixel is read." in said
    assert "Ambiguous studies (AMBIGUOUS_SERIES): 1 (2 x CT axial 1 mm)" in said
    assert "Rejected, MISSING_SERIES: 1 series of 1 studies (1 x CT axial 1 mm)" in said


def test_no_header_puts_its_text_into_a_kind() -> None:
    hostile = {"plane": CANARY, "slice_thickness": CANARY, "kernel": CANARY, "image_type": CANARY}
    series = Series("dicom", CANARY, (), CANARY, 0, CANARY, Identified(CANARY, CANARY, CANARY), hostile)
    said = rehearse(Discovery(Path(CANARY), (series,), ()), Selection.from_mapping({"kernel": "B", "plane": "axial"}))
    assert CANARY not in "\n".join(said)
    assert said[0].endswith(": 1 x unknown modality unknown plane unknown thickness")


def test_an_unclear_agent_is_counted_with_those_that_the_rule_drops() -> None:
    known = {"plane": "axial", "slice_thickness": "1"}
    series = [
        Series("dicom", f"{n}", (), "CT", identity=Identified("P", f"1.{n}"), attributes={**known, "contrast": agent})
        for n, agent in enumerate(["Iomeprol", "NONE", "Oral", "?"])
    ]
    for rule in ("with", "without"):
        said = rehearse(Discovery(Path("scans"), tuple(series), ()), Selection.from_mapping({"contrast": rule}))
        took = "takes 1 (1 x CT axial 1 mm); drops 3 (3 x CT axial 1 mm)"
        assert said[1] == f"select.contrast: {took}; unclear, neither with nor without: 2"


def test_the_command_has_it(scans: Path) -> None:
    out = scans.parent / "out" / "cohort.csv"
    done = CliRunner().invoke(app, ["ingest", str(scans), "--out", str(out), "--dry-run", "select.plane=coronal"])
    assert done.exit_code == EXIT_OK and "select.plane: takes 0; drops 6" in done.output, done.output
    assert not out.parent.exists()
