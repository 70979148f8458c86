"""A model in Python: what its cases are called, so that its answers are joined with the tables of the command."""

import os
from pathlib import Path

import pandas as pd
import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.packages import make_package
from phantoms.predicting import config, write_scan

from pipeline.domain.prediction import Prediction
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import UsageError
from pipeline.stages.loaded_model import LoadedModel
from pipeline.stages.predict import run
from pipeline.stages.pyfunc import ScanModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("model") / "package").folder


@pytest.fixture
def model(folder: Path) -> LoadedModel:
    return LoadedModel(folder, TorchConfig(threads=1))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one name in the folders of two patients."""
    place = tmp_path_factory.mktemp("hospital") / "scans"
    for number in (1, 2):
        write_scan(place / f"p{number}" / "scan.nii", number)
    return place


def cases(model: LoadedModel, paths: object, **settings: object) -> list[str]:
    answers = model.predict(paths, modality="CT", **settings)  # type: ignore[arg-type]
    assert all(answer.prediction is not None for answer in answers), answers
    return [answer.case for answer in answers]


def test_files_of_one_name_are_two_cases_of_two_patients(model: LoadedModel, folder: Path, scans: Path) -> None:
    paths = [scans / "p1" / "scan.nii", scans / "p2" / "scan.nii"]
    first, second = (answer.prediction for answer in model.predict(paths, modality="CT"))
    assert first is not None and second is not None
    assert first.case != second.case and first.patient != second.patient and first.study != second.study
    frame = ScanModel(folder).predict(pd.DataFrame({"path": list(map(str, paths))}), {"modality": "CT"})
    assert list(dict.fromkeys(zip(frame["row"], frame["case"], strict=True))) == [(0, first.case), (1, second.case)]
    assert cases(model, Path(os.path.relpath(paths[0]))) == [first.case], "one file has one name, however it is given"


def test_below_scans_cases_are_named_as_by_the_command(
    model: LoadedModel, folder: Path, scans: Path, tmp_path: Path
) -> None:
    run(config(folder, scans, tmp_path / "out", key_file=os.environ["RESDX_KEY_FILE"]))
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    by_command = [Prediction.model_validate_json(line) for line in lines]
    for paths in ([scans], [scans / "p1", scans / "p2" / "scan.nii"]):
        answers = model.predict(paths, modality="CT", scans=scans)
        said = [answer.prediction for answer in answers if answer.prediction is not None]
        assert sorted(said, key=lambda one: one.case) == by_command
    frame = pd.DataFrame({"path": [str(scans / "p2" / "scan.nii")]})
    told = ScanModel(folder).predict(frame, {"modality": "CT", "scans": str(scans)})
    assert {*told["case"]} < {one.case for one in by_command}


def test_folders_whose_files_have_one_name_need_a_folder_that_holds_both(
    model: LoadedModel, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"paths 0 and 1 .*`scans`"):
        cases(model, [scans / "p1", scans / "p2"])
    assert len({*cases(model, [scans / "p1", scans / "p2"], scans=scans)}) == 2
    assert len({*cases(model, [scans / "p1", scans / "p1"])}) == 1
    with pytest.raises(UsageError, match="does not lie in"):
        cases(model, write_scan(tmp_path / "other.nii", 3), scans=scans)


def test_a_dicom_case_is_named_by_its_study_wherever_it_lies(model: LoadedModel, tmp_path: Path) -> None:
    for place in ("one", "two"):
        write_series(tmp_path / place, make_voxels((14, 12, 9)), identity=Identity("P1", "1.2.3", "1.2.3.4"))
    assert len({*cases(model, [tmp_path / "one", tmp_path / "two"])}) == 1


def test_neighbours_of_a_file_stay_out_and_nothing_is_remembered(folder: Path, scans: Path, tmp_path: Path) -> None:
    model = LoadedModel(folder, key_file=tmp_path / "key")
    (tmp_path / "link.nii").symlink_to(scans / "p1" / "scan.nii")
    write_scan(tmp_path / "neighbour.nii", 5)
    assert len(cases(model, tmp_path / "link.nii")) == 1
    model._pseudonyms.save_map()
    assert not model._pseudonyms.known(), "a server that runs long would grow by every case"
