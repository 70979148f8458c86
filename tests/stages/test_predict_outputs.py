"""What a case leaves beside the tables: pictures on the page, heatmaps on its own grid, objects in a PACS, once."""

import base64
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms.dicom_reports import dciodvfy
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.orthanc import running as running_orthanc
from phantoms.predicting import config, conserved, rows, tables, write_scan
from pydicom import dcmread

from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, RejectedInput, UsageError
from pipeline.explanations.mean_map import MeanMap
from pipeline.ledger import Ledger
from pipeline.stages import predict_local
from pipeline.stages.predict import run
from pipeline.writers import dicom_sources
from pipeline.writers.dicom_sc.writer import CaptureWriter
from pipeline.writers.strip_files import load_strips

EXPLAINED = {"explain": {"method": {"kind": "hires_cam"}, "answers": "all"}}
OBJECTS = EXPLAINED | {"dicom": {"report": True, "captures": True}, "modality": ""}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Two patients' CT series."""
    for number in (1, 2):
        write_series(
            tmp_path / "scans" / str(number),
            make_voxels((14, 12, 9), high=200 + number),
            spacing=(2.0, 2.0, 2.0),
            identity=Identity.numbered(number),
        )
    return tmp_path / "scans"


def embedded(page: Path) -> dict[str, Any]:
    """The data of a page of results."""
    text = page.read_text(encoding="utf-8")
    start = text.index(">", text.index('type="application/json"')) + 1
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
    return found


def test_pictures_and_heatmaps_of_every_case_lie_where_they_belong(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    affine = np.array([[0, -2.0, 0, 9], [2.0, 0, 0, -4], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    for number in range(2):
        path = write_scan(scans / f"{number}.nii.gz", number)
        nib.save(nib.Nifti1Image(nib.load(path).get_fdata(dtype=np.float32), affine), path)
    assert run(config(model, scans, out, **EXPLAINED)).exit_code == EXIT_OK
    cases = [row["case"] for row in rows(out / "predictions.csv")]
    text = (out / "predictions.html").read_text(encoding="utf-8")
    for case in cases:
        strips = load_strips(out / "pictures", case)
        assert strips is not None
        assert {"lesion", "organ", "grade"} <= set(strips.overlays)
        assert base64.b64encode(strips.slices).decode() in text
        assert base64.b64encode(strips.overlays["lesion"]).decode() in text
        heat = nib.load(next((out / "heatmaps").glob(f"{case}.0-lesion.nii.gz")))
        assert heat.shape == (14, 12, 9)
        np.testing.assert_allclose(heat.affine, affine)
        assert heat.get_fdata().max() > 0
    page = embedded(out / "predictions.html")
    assert sorted(one["case"] for one in page["cases"]) == cases


def test_a_case_that_is_no_longer_answered_leaves_no_picture(model: Path, series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(model, series, out, **OBJECTS))
    assert len(list((out / "dicom").glob("*_sr.dcm"))) == 2
    for path in (out / "dicom").iterdir():
        assert not [line for line in dciodvfy(path) if line.startswith("Error")]
    kept = {path.name.split("_")[0].split(".")[0] for path in (out / "heatmaps").iterdir()}
    assert len(kept) == 2
    with pytest.MonkeyPatch.context() as patch:
        real = predict_local.prepare_series

        def refuse(slots: Any, **rest: Any) -> Any:
            if slots[0].files[0].path.parent.name == "1":
                raise RejectedInput("TIMEOUT", "said so")
            return real(slots, **rest)

        patch.setattr(predict_local, "prepare_series", refuse)
        assert run(config(model, series, out, **OBJECTS, read={"suv": True})).exit_code == EXIT_SOME_REJECTED
    (left,) = [row["case"] for row in rows(out / "predictions.csv")]
    for folder in ("pictures", "heatmaps", "dicom"):
        assert {path.name.split("_")[0].split(".")[0] for path in (out / folder).iterdir()} == {left}, folder


def contents(out: Path) -> dict[Path, bytes]:
    """Everything beside the tables, by its path in the folder."""
    paths = [path for folder in ("pictures", "heatmaps", "dicom") for path in (out / folder).glob("*")]
    return {path.relative_to(out): path.read_bytes() for path in paths}


def test_what_lies_beside_the_tables_is_of_the_answer_that_stands_in_them(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes of all settings stay in the ledger, the files of a case are of one: asked again, they are made again."""
    out, other = tmp_path / "out", {"dicom": {"report": True}, "modality": "", "read": {"suv": True}}
    run(config(model, series, out, **OBJECTS))
    first = contents(out)
    assert len(first) > 10
    run(config(model, series, out, **other))
    assert len(contents(out)) < len(first)
    run(config(model, series, out, **OBJECTS))
    assert contents(out) == first

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:  # the files are of the other settings, and no outcome says so
        patch.setattr(Ledger, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            run(config(model, series, out, **other))
    assert contents(out) != first
    run(config(model, series, out, **OBJECTS))
    assert contents(out) == first
    outcome = run(config(model, series, out, **OBJECTS))
    assert any("0 were to be predicted" in line for line in outcome.lines)


@pytest.mark.parametrize("error", [RejectedInput("CHANGED", "said so"), KeyError("nobody foresaw it")])
def test_a_case_whose_files_cannot_be_made_is_refused_and_leaves_none(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real, refused = CaptureWriter.write, []

    def write(self: CaptureWriter, folder: Path, report: Any, *rest: Any) -> Any:
        if not refused:
            refused.append(report.prediction.case)
        if report.prediction.case in refused:
            raise error
        return real(self, folder, report, *rest)

    monkeypatch.setattr(CaptureWriter, "write", write)
    out = tmp_path / "out"
    assert run(config(model, series, out, **OBJECTS)).exit_code == EXIT_SOME_REJECTED
    code = "CHANGED" if isinstance(error, RejectedInput) else "INTERNAL"
    assert code in {row["code"] for row in rows(out / "rejections.csv")} <= {code, "INCOMPLETE"}
    (left,) = [row["case"] for row in rows(out / "predictions.csv")]
    assert left not in refused
    assert {path.name.split("_")[0].split(".")[0] for path in contents(out)} == {left}


def test_files_of_a_case_are_there_before_its_outcome(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out = Ledger.commit, tmp_path / "out"

    def looking(self: Ledger, key: str, pseudonym: str, *rest: Any, **more: Any) -> None:
        assert load_strips(out / "pictures", pseudonym) is not None
        assert (out / "dicom" / f"{pseudonym}_sr.dcm").is_file()
        real(self, key, pseudonym, *rest, **more)

    monkeypatch.setattr(Ledger, "commit", looking)
    assert run(config(model, series, out, **OBJECTS)).exit_code == EXIT_OK


def test_objects_written_again_after_a_crash_are_the_same(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            run(config(model, series, out, **OBJECTS))
    before = {path.name: path.read_bytes() for path in (out / "dicom").iterdir()}
    assert any(name.endswith("_sr.dcm") for name in before)
    assert run(config(model, series, out, **OBJECTS)).exit_code == EXIT_OK
    after = {path.name: path.read_bytes() for path in (out / "dicom").iterdir()}
    assert before.items() <= after.items()


def test_what_is_sent_arrives_once_and_what_is_not_is_tried_again(model: Path, series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "orthanc").mkdir()
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        settings = OBJECTS | {"dicom": OBJECTS["dicom"] | {"send": orthanc.destination.model_dump()}}
        orthanc.kill()
        outcome = run(config(model, series, out, **settings))
        assert outcome.exit_code == EXIT_SOME_REJECTED
        count = len(list((out / "dicom").iterdir()))
        assert any(f"{count} objects could not be sent" in line for line in outcome.lines)
        orthanc.start()
        outcome = run(config(model, series, out, **settings))
        assert outcome.exit_code == EXIT_OK
        assert any(f"{count} objects were sent" in line for line in outcome.lines)
        outcome = run(config(model, series, out, **settings))
        assert any("0 objects were sent" in line for line in outcome.lines)
        held = orthanc.get("/instances")
        assert len(held) == count
        patients = {orthanc.get(f"/instances/{one}/simplified-tags")["PatientID"] for one in held}
    assert patients == {Identity.numbered(1).patient_id, Identity.numbered(2).patient_id}


def test_the_scans_of_a_case_are_read_once_for_all_its_objects(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = dicom_sources.load
    monkeypatch.setattr(dicom_sources, "load", lambda file: read.append(file.path) or real(file))
    run(config(model, series, tmp_path / "out", **OBJECTS))
    assert {path.name.split("_")[-1] for path in (tmp_path / "out" / "dicom").iterdir()} == {"sr.dcm", "sc.dcm"}
    assert sorted(read) == sorted(series.glob("*/*"))


def test_scans_without_a_dicom_identity_get_no_objects_and_their_predictions(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_scan(tmp_path / "scans" / "a.nii", 0)
    outcome = run(config(model, tmp_path / "scans", tmp_path / "out", **OBJECTS | {"modality": "CT"}))
    assert outcome.exit_code == EXIT_OK
    assert conserved(tmp_path / "out") == (1, 1, 0, 0, 1)
    assert caplog.text.count("no DICOM object") == 1
    assert not (tmp_path / "out" / "dicom").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "no heatmap: memory"), (ValueError("odd"), "no heatmap: unexpected ValueError in")],
)
def test_a_heatmap_that_cannot_be_made_costs_no_prediction(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    write_scan(tmp_path / "scans" / "a.nii", 0)
    run(config(model, tmp_path / "scans", tmp_path / "plain"))

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(MeanMap, "heatmap", fail)
    assert run(config(model, tmp_path / "scans", tmp_path / "out", **EXPLAINED)).exit_code == EXIT_OK
    (plain,), (row,) = rows(tmp_path / "plain" / "predictions.csv"), rows(tmp_path / "out" / "predictions.csv")
    assert said in row["notes"]
    assert {name: value for name, value in row.items() if name != "notes"} == {
        name: value for name, value in plain.items() if name != "notes"
    }


def test_captures_without_heatmaps_are_refused_before_anything_is_read(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii", 0)
    with pytest.raises(UsageError, match=r"explain\.method"):
        run(config(model, tmp_path / "scans", tmp_path / "out", dicom={"captures": True}))


def test_outputs_change_no_table(model: Path, series: Path, tmp_path: Path) -> None:
    plain = {"modality": "", "pictures": False, "page": False, "key_file": str(tmp_path / "key")}
    run(config(model, series, tmp_path / "plain", **plain))
    run(config(model, series, tmp_path / "all", **OBJECTS, key_file=str(tmp_path / "key")))
    assert tables(tmp_path / "plain") == tables(tmp_path / "all")
    assert not (tmp_path / "plain" / "predictions.html").exists()
    names = {path.name for path in (tmp_path / "all" / "dicom").iterdir()}
    for path in (tmp_path / "all" / "dicom").iterdir():
        shutil.copy(path, tmp_path / "one.dcm")
        assert str(dcmread(tmp_path / "one.dcm").PatientID) not in "".join(names)
