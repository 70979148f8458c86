"""Which scans of a folder a model takes: those of its modality, as it is told and never guessed."""

import time
from pathlib import Path

import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.predicting import codes, config, conserved, rows, summary, write_scan

from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series, SourceFile
from pipeline.domain.series import Identity as Identified
from pipeline.errors import EXIT_SOME_REJECTED, ConfigError, UsageError
from pipeline.stages.predict import LEDGER, run
from pipeline.stages.predict_units import cases_to_ask


def test_the_modality_that_the_model_needs_is_read_and_no_other(model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    both, other = Identity.numbered(1), Identity.numbered(2)
    voxels = make_voxels((14, 12, 9), high=200)
    write_series(folder / "1", voxels, spacing=(2.0, 2.0, 2.0), identity=both)
    localiser = write_series(folder / "2", voxels, modality="MR", identity=both.another_series(2))
    unfit = write_series(folder / "3", voxels, modality="MR", identity=other)
    outcome = run(config(model, folder, out, modality=""))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert conserved(out) == (27, 9, 9, 9, 1)
    found = rows(out / "rejections.csv")
    assert {row["path"] for row in found} == {str(path) for path in unfit}
    assert [row["code"] for row in found].count("DOES_NOT_FIT") == 1
    assert "needs CT" in next(row["message"] for row in found if row["code"] == "DOES_NOT_FIT")
    assert summary(out)["codes"] == {"DOES_NOT_FIT": 1, "INCOMPLETE": 8, "NOT_SELECTED": len(localiser)}
    text = (out / "predictions.csv").read_text() + (out / LEDGER).read_bytes().decode("latin-1")
    assert not [raw for raw in (both.patient_id, both.study_uid, both.patient_name) if raw in text]


def test_a_modality_is_never_taken_from_the_model(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii", 0)
    outcome = run(config(model, tmp_path / "scans", tmp_path / "out", modality=""))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert codes(tmp_path / "out") == {"a.nii": "NO_MODALITY"}
    assert any("--modality" in line for line in outcome.lines)


def test_a_selection_that_leaves_out_the_models_modality_is_refused(model: Path, tmp_path: Path) -> None:
    scans = write_scan(tmp_path / "scans" / "a.nii").parent
    with pytest.raises(UsageError, match="trained on CT"):
        run(config(model, scans, tmp_path / "out", select={"modality": ["MR"]}))


def test_many_studies_that_do_not_fit_do_not_take_their_square() -> None:
    count = 4000
    found = tuple(
        Series("dicom", f"{n}", (SourceFile(Path(f"/a/{n}"), f"{n}", 1),), "MR", identity=Identified("P", f"{n}"))
        for n in range(count)
    )
    started = time.process_time()
    asked = cases_to_ask(Discovery(Path("/a"), found, ()), Selection(), "CT")
    assert time.process_time() - started < 1.0  # comparing each with each takes several times as long
    told = {(one.code, one.message) for one in asked.refused}
    assert len(asked.refused) == count and told == {("DOES_NOT_FIT", "the model needs CT, this study has MR only")}


@pytest.mark.parametrize("modality", ["ct", "XX"])
def test_a_modality_that_is_none_is_refused_before_anything_is_read(modality: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"'{modality}' is no modality"):
        config(tmp_path / "model", tmp_path, tmp_path / "out", modality=modality)
