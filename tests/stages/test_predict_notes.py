"""A prediction says what may be missing from its scan, and is made again once that is no longer so."""

from pathlib import Path

from phantoms.dicom_series import make_voxels, write_series
from phantoms.predicting import config, rows, tables

from pipeline.errors import EXIT_SOME_REJECTED
from pipeline.stages.predict import run


def test_a_lost_slice_is_told_beside_the_answer_until_nothing_speaks_for_it(model: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    lost = write_series(scans, make_voxels((14, 12, 9), high=200), spacing=(2.0, 2.0, 2.0))[0]
    lost.write_bytes(b"")
    outcome = run(config(model, scans, tmp_path / "out"))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    (row,) = rows(tmp_path / "out" / "predictions.csv")
    assert "InstanceNumber says that 1 of 9 images are missing at an end" in row["notes"]
    assert "files in its folder were refused (1 TRUNCATED)" in row["notes"]
    lost.unlink()
    run(config(model, scans, tmp_path / "out"))
    run(config(model, scans, tmp_path / "fresh"))
    (row,) = rows(tmp_path / "out" / "predictions.csv")
    assert "InstanceNumber says" in row["notes"] and "refused" not in row["notes"]
    assert tables(tmp_path / "out")["predictions.csv"] == tables(tmp_path / "fresh")["predictions.csv"]


def test_what_is_passed_over_is_counted_on_the_screen(model: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "scans", make_voxels((14, 12, 9), high=200), spacing=(2.0, 2.0, 2.0))
    (tmp_path / "scans" / "README.TXT").write_text("a viewer", encoding="utf-8")
    lines = run(config(model, tmp_path / "scans", tmp_path / "out")).lines
    assert any(line.startswith("Skipped: 1 x NOT_AN_IMAGE; each file stands in ") for line in lines)
