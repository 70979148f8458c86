"""Several series of a study as channels, from scanner to network: training and prediction see the same voxels."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from phantoms.answers import answer_of
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import write_labels, yes_no
from phantoms.packages import make_package

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.case import Split
from pipeline.domain.codes import Code
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan, ZScore
from pipeline.domain.prediction import Prediction
from pipeline.domain.selection import Selection
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import RejectedInput
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.fingerprint import measure
from pipeline.preprocessing.planning import PlanSettings, make_plan
from pipeline.preprocessing.scans import prepare_series
from pipeline.preprocessing.transforms import prepare
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.stages import ingest, predict, predict_local
from pipeline.stages.predict_units import cases_to_ask

COUNT = 8
CHANNELS = [{"name": "T1", "description": "(?i)t1"}, {"name": "T2", "description": "(?i)t2"}]
LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0))


def write_study(folder: Path, number: int, *names: str, away: float = 0.0) -> None:
    """Write T1 and T2 of one patient: other spacing, offset, orientation and scale of values."""
    who = Identity.numbered(number)
    for at, name in enumerate(names, start=1):
        is_second = name == "T2"
        voxels = make_voxels((12, 10, 8), seed=10 * number + at, high=4000 if is_second else 300)

        def describe(dataset: object, _: int, name: str = name) -> None:
            dataset.SeriesDescription = f"ax {name} tse"  # type: ignore[attr-defined]

        write_series(
            folder / str(number) / str(at),
            voxels,
            identity=who.another_series(at),
            modality="MR",
            spacing=(0.9, 1.1, 1.6) if is_second else (1.0, 1.0, 2.0),
            position=(1.5, -4.0, 0.5 + away) if is_second else (0.0, 0.0, 0.0),
            orientation=TURNED if is_second else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
            edit=describe,
        )


def ingested(folder: Path, **select: object) -> tuple[Manifest, CaseReader]:
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 1)]
    labels = write_labels(folder / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT)})
    settings: dict[str, object] = {
        "scans": str(folder / "scans"),
        "out": str(folder / "out" / "cohort.csv"),
        "labels": {"file": str(labels), "findings": [LESION]},
        "select": {"channels": CHANNELS} | select,
        "processes": 0,
    }
    ingest.run(ingest.Config.from_mapping(settings))
    path = folder / "out" / "cohort.csv"
    return load_manifest(path), CaseReader(load_files(path), ReadOptions())


def planned(manifest: Manifest, reader: CaseReader) -> Plan:
    fingerprint = measure(manifest, Split.TRAIN, reader.read)
    assert fingerprint.channels == 2
    return make_plan(fingerprint, PlanSettings(), manifest.select)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("channels")
    for number in range(1, COUNT + 1):
        write_study(folder / "scans", number, "T1", "T2", *(["T2"] if number == 3 else []))
    write_study(folder / "scans", 4, "T1", "T2")
    return folder


def test_training_and_prediction_see_the_same_voxels_by_the_rules_that_travel_with_the_plan(folder: Path) -> None:
    manifest, reader = ingested(folder)
    assert len(manifest.cases) == COUNT - 1, "the study with two T2 is refused"
    plan = Plan.model_validate_json(planned(manifest, reader).model_dump_json())
    assert plan.channels == 2 and isinstance(plan.intensity, ZScore) and plan.select == manifest.select
    discovery, names = discover(folder / "scans", ReadOptions()), Pseudonyms.open(None)
    without = cases_to_ask(discovery, Selection(), "MR")
    assert not without.candidates and {one.code for one in without.refused} == {Code.AMBIGUOUS_SERIES}
    asked = cases_to_ask(discovery, plan.select or Selection(), plan.modality)
    scans = {names.case(one.unit_key): prepare_series(one.slots, plan, ReadOptions()) for one in asked.candidates}
    assert set(scans) == {case.case for case in manifest.cases}
    for case in manifest.cases:
        image = prepare(reader.read(case), plan)
        np.testing.assert_array_equal(scans[case.case].image, image)
        assert scans[case.case].notes == case.notes
        first, second = image
        assert first.std() > 0.1 and second.std() > 0.1, "each channel has statistics of its own"


def test_a_changed_second_series_is_a_miss_of_the_cache_and_refused(folder: Path, tmp_path: Path) -> None:
    manifest, reader = ingested(folder)
    case = manifest.cases[0]
    assert [(one.channel, one.of) for one in case.series] == [(0, 2), (1, 2)]
    other = case.series[1].model_copy(update={"digest": "0" * 64})
    changed = case.model_copy(update={"series": (case.series[0], other)})
    cache = PreparedCache(tmp_path, planned(manifest, reader))
    assert cache.path(case) != cache.path(changed) and case.digest != changed.digest
    with pytest.raises(RejectedInput) as caught:
        reader.read(changed)
    assert caught.value.code == Code.CHANGED
    turned = tuple(one.model_copy(update={"channel": 1 - one.channel}) for one in case.series)
    assert cache.path(case) != cache.path(case.model_copy(update={"series": turned}))


def test_an_empty_channel_is_noted_is_zero_and_moves_no_statistic(folder: Path, tmp_path: Path) -> None:
    for number in range(1, COUNT + 1):
        write_study(tmp_path / "scans", number, "T1", *(["T2"] if number % 2 else []))
    manifest, reader = ingested(tmp_path, missing="empty")
    assert len(manifest.cases) == COUNT
    empty = [case for case in manifest.cases if len(case.series) == 1]
    assert len(empty) == COUNT // 2
    assert all("channel 2 of 2 has no series and is empty" in case.notes for case in empty)
    plan = planned(manifest, reader)
    image = prepare(reader.read(empty[0]), plan)
    assert (image[1] == 0).all() and image[0].std() > 0.1
    alone = reader.read(empty[0].model_copy(update={"series": (empty[0].series[0].model_copy(update={"of": 1}),)}))
    np.testing.assert_array_equal(image[:1], prepare(alone, plan.model_copy(update={"channels": 1})))


def test_series_that_do_not_overlap_are_refused_at_ingest(tmp_path: Path) -> None:
    for number in range(1, COUNT + 1):
        write_study(tmp_path / "scans", number, "T1", "T2", away=500.0 if number == 2 else 0.0)
    manifest, _ = ingested(tmp_path)
    assert len(manifest.cases) == COUNT - 1
    rejections = (tmp_path / "out" / "cohort.rejections.csv").read_text(encoding="utf-8")
    assert "DOES_NOT_FIT" in rejections and "channel 2 of 2 reaches no voxel of the first one's grid" in rejections


def test_predict_reads_every_channel_by_the_rules_of_the_model(folder: Path, tmp_path: Path) -> None:
    manifest, reader = ingested(folder)
    plan = planned(manifest, reader).model_copy(update={"size": (12, 10, 8)})
    package = make_package(tmp_path / "package", plan=plan)
    settings = {"model": str(package.folder), "scans": str(folder / "scans"), "processes": 0}
    settings |= {"engine": {"kind": "torch", "threads": 1}, "out": str(tmp_path / "out")}
    predict.run(predict.Config.from_mapping(settings))
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    said = {one.case: one for one in map(Prediction.model_validate_json, lines)}
    assert set(said) == {case.case for case in manifest.cases}
    engine = TorchConfig(threads=1).build(package)
    for case in manifest.cases:
        assert said[case.case].findings == answer_of(reader.read(case), package, engine)
    found = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert found["codes"] == {"AMBIGUOUS_SERIES": 3, "INCOMPLETE": 21} and found["used"] == 16 * len(manifest.cases)
    predict.run(predict.Config.from_mapping(settings | {"select": {}, "out": str(tmp_path / "other")}))
    found = json.loads((tmp_path / "other" / "summary.json").read_text(encoding="utf-8"))
    assert found["cases"] == 0 and found["codes"]["AMBIGUOUS_SERIES"] == 2 * COUNT + 1


def test_a_damaged_file_of_the_second_series_is_the_one_that_is_blamed(folder: Path, tmp_path: Path) -> None:
    manifest, reader = ingested(folder)
    package = make_package(
        tmp_path / "package", plan=planned(manifest, reader).model_copy(update={"size": (12, 10, 8)})
    )
    shutil.copytree(folder / "scans" / "1", tmp_path / "scans")
    second = sorted((tmp_path / "scans" / "2").iterdir())[3]
    settings = {"model": str(package.folder), "scans": str(tmp_path / "scans"), "out": str(tmp_path / "out")}
    config = predict.Config.from_mapping(settings | {"processes": 0})
    refused = RejectedInput("CORRUPT", "damaged", path=str(second))

    def refuse(*_: object, **__: object) -> None:
        raise refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_local, "prepare_series", refuse)
        predict.run(config)
    with (tmp_path / "out" / "rejections.csv").open(encoding="utf-8", newline="") as file:
        codes = {Path(row["path"]).name: row["code"] for row in csv.DictReader(file)}
    assert codes.pop(second.name) == "CORRUPT"
    assert set(codes.values()) == {"INCOMPLETE"} and len(codes) == 15
