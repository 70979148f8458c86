"""Folds and repeated seeds: members as whole runs, and the ensemble that is made of them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray
from phantoms.spheres import FINDINGS, make_manifest, read

from pipeline.cohort.folds import Folds
from pipeline.domain.case import Case, Split
from pipeline.domain.encoding import encode_labels, label_slices, output_slices
from pipeline.domain.volume import Volume
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import ConfigError, RejectedInput, StoppedBySignal, TrainingError, UsageError
from pipeline.evaluation.calibration import fit_temperature
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages import packaging
from pipeline.stages import train as stage
from pipeline.stages.scope_reference import make_reference
from pipeline.stages.train import Config, train

MANIFEST = make_manifest(train=20, validation=10, ndim=2)
NAMES = ["fold1-seed0", "fold1-seed1", "fold2-seed0", "fold2-seed1"]


def make_config(out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "manifest": "/somewhere/secret/cohort.csv",
        "out": str(out),
        "processes": 0,
        "network": {"backbone": {"kind": "resnet", "depth": 8, "width": 4}},
        "plan": {"precision": "32", "batch_size": 10},
        "training": {
            "epochs": 1,
            "accelerator": "cpu",
            "learning_rate": 0.01,
            "warmup_epochs": 0,
            "memory_format": "contiguous",
            "depth_watch": {"enabled": False},
            "overfitting_watch": {"enabled": False},
        },
        "tta_flips": [0],
        "tracking": {"enabled": False, "system_seconds": 0},
    }
    return Config.from_mapping(settings | changes)


class Trainings:
    """Counts trainings; stops the command after so many."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.left = -1
        self._original = stage.fit_network

    def __call__(self, config: Config, *given: Any) -> Any:
        made = self._original(config, *given)
        self.done.append(config.out.name)
        self.left -= 1
        if not self.left:
            raise StoppedBySignal("between training and packaging")
        return made


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainings]:
    counting = Trainings()
    monkeypatch.setattr(stage, "fit_network", counting)
    yield counting


Names = frozenset[str]
MEASURED: list[tuple[Names, Names, Names]] = []
"""Training cases, held-out cases and cases with features that the scope of each package was measured on."""


def measuring(training: Sequence[Case], held_out: Sequence[Case], features: Mapping[str, Any], *rest: Any) -> Any:
    MEASURED.append((*(frozenset(case.case for case in some) for some in (training, held_out)), frozenset(features)))
    return make_reference(training, held_out, features, *rest)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of two seeds each, stopped in the third member, then gone on with."""
    out = tmp_path_factory.mktemp("members") / "run"
    config = make_config(out, folds=2, seeds=[0, 1], tracking={"system_seconds": 0, "replay_seconds": 600})
    counting = Trainings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "fit_network", counting)
        patch.setattr(packaging, "make_reference", measuring)
        counting.left = 3
        with pytest.raises(StoppedBySignal):
            train(config, MANIFEST, read)
        first = load_package(out / "members" / NAMES[0] / "package").digest
        outcome = train(config, MANIFEST, read)
    assert counting.done == [*NAMES[:3], *NAMES[2:]]  # the third was trained, not packed: it is read, not learned anew
    assert load_package(out / "members" / NAMES[0] / "package").digest == first
    assert any(line.startswith("lesion, auroc of 4 members: mean 0.") for line in outcome.lines)
    return out


def logits(package: ModelPackage, cache: Path, cases: list[Case]) -> NDArray[np.float32]:
    prepared = PreparedCache(cache, package.plan)
    return TorchConfig().build(package).answer(np.stack([np.asarray(prepared.load(case)) for case in cases])).logits


def test_the_ensemble_says_the_mean_of_its_members(trained: Path) -> None:
    package = load_package(trained / "package")
    assert package.members == 4 and package.tta_flips == (0,)
    assert package.manifest_digest == MANIFEST.digest == package.fingerprint.manifest
    assert package.fingerprint.cases == 30  # training and validation: each of them trains a member
    cases = list(MANIFEST.of(Split.TEST))
    prepared = trained / "cache"
    PreparedCache(prepared, package.plan).fill(cases, read)
    each = [logits(load_package(trained / "members" / name / "package"), prepared, cases) for name in NAMES]
    np.testing.assert_allclose(logits(package, prepared, cases), np.mean(each, axis=0), atol=1e-5)
    assert np.ptp([rows[0, 0] for rows in each]) > 1e-3, "all members are the same: this test sees nothing"


def test_calibration_is_out_of_fold(trained: Path) -> None:
    package = load_package(trained / "package")
    folds = Folds.model_validate_json((trained / "folds.json").read_bytes())
    by_name = {case.case: case for case in MANIFEST.cases}
    cases, rows = [], []
    for number, names in enumerate(folds.cases, start=1):
        held_out = [case for case in MANIFEST.cases if case.case in names]
        members = [load_package(trained / "members" / f"fold{number}-seed{seed}" / "package") for seed in (0, 1)]
        for member in members:
            assert member.card.data.cases == {"train": 30 - len(names), "validation": len(names), "test": 6}
        cases += held_out
        rows.append(np.mean([logits(member, trained / "cache", held_out) for member in members], axis=0))
    assert {case.case for case in cases} == set(by_name) - {case.case for case in MANIFEST.of(Split.TEST)}
    labels = encode_labels(cases, FINDINGS)
    assert len(package.calibration) == 2
    for finding, outputs, columns, found in zip(
        FINDINGS, output_slices(FINDINGS), label_slices(FINDINGS), package.calibration, strict=True
    ):
        again = fit_temperature(finding, np.concatenate(rows)[:, outputs], labels[:, columns])
        assert found.temperature == pytest.approx(again.temperature, rel=1e-4)


def test_the_scope_is_measured_on_cases_that_the_first_member_was_not_trained_on(trained: Path) -> None:
    folds = Folds.model_validate_json((trained / "folds.json").read_bytes())
    training, held_out, compared = MEASURED[-1]
    assert held_out == set(folds.cases[0])
    assert training == set(folds.cases[1])
    assert compared == held_out | training


def test_the_card_names_folds_and_members_with_their_spread(trained: Path) -> None:
    card = load_package(trained / "package").card
    assert [(member.name, member.fold, member.seed) for member in card.members] == [
        (name, int(name[4]), int(name[-1])) for name in NAMES
    ]
    own = load_package(trained / "members" / NAMES[1] / "package")
    assert card.members[1].model == own.digest
    value = next(
        score.value
        for entry in own.card.scores
        for score in entry.scores
        if entry.finding == "lesion" and score.metric == "auroc"
    )
    assert card.members[1].scores["lesion"].value == value
    assert {entry.split for entry in card.scores} == {"out of fold"}
    assert all(score.cases == 30 for score in card.scores[0].scores if score.metric == "auroc")
    text = card.markdown()
    assert "2 folds; their logits are averaged" in text and "30 cases of 30 patients" in text
    assert own.card.notes[1] == "Trained in 32: given." and text.count("Trained in 32: given.") == 1  # what all share
    assert "| standard deviation |" in text and "fold2-seed1: Best of 1 epochs" in text


def test_members_stand_below_the_run_in_mlflow_and_only_the_ensemble_is_registered(trained: Path) -> None:
    client = MlflowClient(f"sqlite:///{trained.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'resdx'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"run", *NAMES}
    whole = runs["run"]
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in NAMES} == {whole.info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    (version,) = client.search_model_versions("name = 'resdx'")
    assert version.tags["resdx.model"] == load_package(trained / "package").digest
    shown = {point.step: point.value for point in client.get_metric_history(whole.info.run_id, "member/lesion_auroc")}
    order = {"fold1-seed0": 1, "fold2-seed0": 2, "fold1-seed1": 3, "fold2-seed1": 4}  # whatever seeds are added
    scores = {member.name: member.scores["lesion"].value for member in load_package(trained / "package").card.members}
    assert shown == {order[name]: value for name, value in scores.items()}
    assert whole.data.metrics["members/lesion_auroc_mean"] == pytest.approx(
        np.mean([member.scores["lesion"].value for member in load_package(trained / "package").card.members])
    )
    assert whole.data.params["folds"] == "2" and "secret" not in str(whole.to_dictionary())
    assert whole.data.params.items() >= {"cases.validation": "10", "planned.batch_size": "10"}.items()
    package = load_package(trained / "package")
    own = {(e.finding, s.metric): s.value for e in package.card.scores for s in e.scores}
    assert whole.data.metrics["ensemble/lesion_auroc"] == own["lesion", "auroc"]
    assert whole.data.metrics["ensemble/size_macro_auroc"] == own["size", "macro_auroc"]
    listed = {
        folder: {entry.path.removeprefix(f"{folder}/") for entry in client.list_artifacts(whole.info.run_id, folder)}
        for folder in ("experiment", "review")
    }
    assert listed["experiment"] == {"config.yaml", "fingerprint.json", "plan.json"}
    assert listed["review"] == {"hardest.csv", "hardest.png", "confusion_lesion.png", "confusion_size.png"}
    with (trained / "review" / "hardest.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 30  # all cases, each by those that did not train on it
    assert {entry.tags[0].value for entry in whole.inputs.dataset_inputs} == {"training", "validation"}
    note = whole.data.tags["mlflow.note.content"]
    assert "Ensemble of 4 networks" in note and "| fold2-seed1 | 15 |" in note and "| out of fold |" in note
    assert f"| lesion | auroc | {own['lesion', 'auroc']:.3f} |" in note
    assert "secret" not in (trained / "tracking" / "config.yaml").read_text()


def test_a_finished_ensemble_trains_nothing_again(trained: Path, trainings: Trainings) -> None:
    before = load_package(trained / "package").digest
    train(make_config(trained, folds=2, seeds=[0, 1]), MANIFEST, read)
    assert trainings.done == []
    assert load_package(trained / "package").digest == before
    with pytest.raises(UsageError, match="folds: was 2, is 3"):
        train(make_config(trained, folds=3, seeds=[0, 1]), MANIFEST, read)


def test_seeds_share_the_splits_and_more_may_be_added(tmp_path: Path, trainings: Trainings) -> None:
    out = tmp_path / "run"
    secret = {"enabled": False, "system_seconds": 0, "uri": "postgresql://jane:hunter2@db/mlflow"}
    train(make_config(out, seeds=[4, 5], tracking=secret), MANIFEST, read)
    kept = [out / "config.yaml", *out.glob("members/*/config.yaml"), *out.glob("members/*/tracking/config.yaml")]
    assert len(kept) == 5 and all("uri: postgresql://db/mlflow" in path.read_text() for path in kept)
    assert not [path for path in out.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    two = load_package(out / "package")
    cases = list(MANIFEST.of(Split.VALIDATION))
    rows = logits(two, out / "cache", cases)
    again = fit_temperature(FINDINGS[0], rows[:, :1], encode_labels(cases, FINDINGS)[:, :1])
    assert two.calibration[0].temperature == again.temperature  # of the very answers that predictions are made from
    assert {entry.split for entry in two.card.scores} == {"validation"}
    assert not (out / "folds.json").exists()

    train(Config.load(out / "config.yaml", ["seeds=[4,5,6]"]), MANIFEST, read)  # goes on from what it wrote
    assert trainings.done == ["seed4", "seed5", "seed6"]
    three = load_package(out / "package")
    assert three.members == 3 and three.card.members[:2] == two.card.members
    with pytest.raises(UsageError, match="members"):
        train(make_config(out), MANIFEST, read)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "two folds or two seeds"),
        ({"seeds": [3]}, "two folds or two seeds"),
        ({"seeds": [3, 3]}, "names one twice"),
        ({"folds": 2, "training": {"devices": 2}}, "each on one device"),
    ],
)
def test_what_makes_no_ensemble_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(tmp_path, **changes)


def test_a_fold_that_leaves_nothing_to_learn_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    grades = [0] + [1] * 11  # one case without a lesion: the members without it cannot learn what a lesion is
    cases = [case for case in MANIFEST.cases if case.split is not Split.TEST][:12]
    labelled = tuple(
        case.model_copy(update={"labels": {"lesion": "yes" if grade else "no"}})
        for case, grade in zip(cases, grades, strict=True)
    )
    manifest = MANIFEST.model_copy(update={"findings": FINDINGS[:1], "cases": labelled})
    with pytest.raises(TrainingError, match=r"fold\d-seed0 \(validation is fold \d\): lesion: the \d+ known labels"):
        train(make_config(tmp_path / "run", folds=3), manifest, read)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": {"balance": "size"}},
            r"fold\d-seed0 \(validation is fold \d\): .* no training case is (large|small)",
        ),
        ({"training": {"monitor": "auroc"}}, r"fold\d-seed0 \(validation is fold \d\): .* of size is small, large"),
        ({"data": {"balance": "side"}}, "fold1-seed0 .*balance names 'side'"),
    ],
)
def test_a_class_that_a_fold_lacks_is_named_before_anything_is_trained(
    tmp_path: Path, trainings: Trainings, changes: dict[str, Any], message: str
) -> None:
    """One case is large and one small: some member trains without it, and some fold knows nothing but none."""
    cases = [case for case in MANIFEST.cases if case.split is not Split.TEST][:12]
    sizes = ["large", "small", *["none"] * 10]
    labelled = tuple(
        case.model_copy(update={"labels": {"lesion": "yes" if n % 2 else "no", "size": size}})
        for n, (case, size) in enumerate(zip(cases, sizes, strict=True))
    )
    manifest = MANIFEST.model_copy(update={"cases": labelled})
    with pytest.raises(TrainingError, match=message):
        train(make_config(tmp_path / "run", folds=3, **changes), manifest, read)
    assert trainings.done == [] and not (tmp_path / "run").exists()


def test_a_class_that_is_lost_to_unreadable_scans_is_named_before_anything_is_trained(
    tmp_path: Path, trainings: Trainings
) -> None:
    cases = [case for case in MANIFEST.cases if case.split is not Split.TEST][:12]
    labelled = tuple(
        case.model_copy(update={"labels": {"lesion": "yes" if n < 2 else "no"}}) for n, case in enumerate(cases)
    )
    manifest = MANIFEST.model_copy(update={"findings": FINDINGS[:1], "cases": labelled})

    def refuse_one(case: Case) -> Volume:
        if case.case == cases[0].case:
            raise RejectedInput("CHANGED", "sha256 differs")
        return read(case)

    with pytest.raises(TrainingError, match=r"fold\d-seed0 \(validation is fold \d\): lesion: the \d known labels"):
        train(make_config(tmp_path / "run", folds=2), manifest, refuse_one)
    assert trainings.done == []
