import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray
from phantoms.answers import answer_of
from phantoms.evaluations import FINDINGS, cohort
from phantoms.packages import make_package

from pipeline.cohort.openings import openings_path, record_opening
from pipeline.domain.case import Case, Split
from pipeline.domain.finding import FindingKind
from pipeline.domain.geometry import Geometry
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Report
from pipeline.domain.volume import Volume
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ManifestError, RejectedInput
from pipeline.package.package import load_package, save_package
from pipeline.stages import evaluate as stage
from pipeline.stages.evaluate import Config, run
from pipeline.stages.outcome import Outcome
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.settings import TrackingSettings, save_settings

CASES = cohort(FINDINGS, count=30)[0]
MANIFEST = Manifest(findings=FINDINGS, cases=CASES)
UNREADABLE = CASES[3].case


def scan_of(case: Case) -> Volume:
    voxels: NDArray[np.float32] = (
        np.random.default_rng(int(case.case[1:])).normal(50, 80, size=(1, 14, 12, 9)).astype(np.float32)
    )
    return Volume(voxels, Geometry.from_matrix((14, 12, 9), np.diag([2.0, 2.0, 2.0, 1.0])), "CT")


@dataclass
class Scans:
    """Stands for the readers, which have tests of their own: every case is noise, some cannot be read."""

    unreadable: frozenset[str] = frozenset()

    def read(self, case: Case) -> Volume:
        if case.case in self.unreadable:
            raise RejectedInput("CHANGED", "the file is not the one that was ingested")
        return scan_of(case)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training's run folder with a package that was trained on MANIFEST."""
    folder = tmp_path_factory.mktemp("training") / "run"
    draft = make_package(folder / "draft")
    save_package(
        folder / "package",
        classifier_state=draft.build_classifier().state_dict(),
        network=draft.network,
        plan=draft.plan,
        fingerprint=draft.fingerprint.model_copy(update={"manifest": MANIFEST.digest}),
        findings=draft.findings,
        calibration=draft.calibration,
        operating_points=draft.operating_points,
        manifest_digest=MANIFEST.digest,
        card=draft.card,
    )
    return folder


@pytest.fixture(autouse=True)
def inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, MANIFEST)


def given(monkeypatch: pytest.MonkeyPatch, manifest: Manifest, unreadable: frozenset[str] = frozenset()) -> None:
    monkeypatch.setattr(stage, "load_manifest", lambda path: manifest)
    monkeypatch.setattr(stage, "load_files", lambda path: None)
    monkeypatch.setattr(stage, "CaseReader", lambda files, options: Scans(unreadable))


def config(training: Path, out: Path, **changes: object) -> Config:
    fields: dict[str, object] = {
        "model": str(training / "package"),
        "manifest": str(out.with_name("cohort.csv")),
        "out": str(out),
        "resamples": 100,
        "processes": 0,
        "track": False,
    }
    return Config.from_mapping(fields | changes)


def report_in(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_bytes())


@pytest.fixture(scope="module")
def evaluated(training: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """An evaluation of the whole test split."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        given(patch, MANIFEST)
        return folder, run(config(training, folder))


def test_it_leaves_the_report_the_page_the_table_and_the_plots(training: Path, evaluated: tuple[Path, Outcome]) -> None:
    folder, outcome = evaluated
    plots = {f"{kind}_{f.name}.png" for kind in ("roc", "precision_recall", "calibration") for f in FINDINGS}
    tables = {"report.json", "report.html", "evaluated.csv", "rejections.csv"}
    assert {path.name for path in folder.iterdir()} == plots | tables
    assert outcome.exit_code == EXIT_OK
    report = report_in(folder)
    assert (report.external, report.split, report.cases, report.patients) == (False, Split.TEST, 30, 15)
    assert (report.manifest, report.trained_on) == (MANIFEST.digest, MANIFEST.digest)
    assert report.model == load_package(training / "package").digest
    assert any("AUROC" in line and " to " in line for line in outcome.lines)
    assert "report.html" in outcome.lines[-1]


def test_its_probabilities_are_those_of_predict(training: Path, evaluated: tuple[Path, Outcome]) -> None:
    package = load_package(training / "package")
    engine = TorchConfig().build(package)
    rows = list(csv.DictReader((evaluated[0] / "evaluated.csv").open(encoding="utf-8")))
    for row, case in zip(rows[:5], CASES, strict=False):
        assert (row["case"], row["patient"], row["split"]) == (case.case, case.patient, "test")
        for finding, said in zip(FINDINGS, answer_of(scan_of(case), package, engine), strict=True):
            assert row[f"{finding.name}_truth"] == case.labels[finding.name]
            assert row[f"{finding.name}_decision"] == said.decision
            written = [float(row[f"{finding.name}_p_{name}"]) for name in finding.classes]
            assert written == pytest.approx(list(said.probabilities.values()), abs=1e-6)
            if finding.kind is not FindingKind.MULTILABEL:
                assert sum(written) == pytest.approx(1, abs=1e-5)


def test_equal_inputs_give_equal_bytes(training: Path, evaluated: tuple[Path, Outcome], tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    (again / "roc_other.png").write_bytes(b"of an older run")
    run(config(training, again, cache=str(tmp_path / "cache")))
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (evaluated[0], again))
    assert one == two


def test_looks_at_the_test_split_are_counted_by_model(training: Path, tmp_path: Path) -> None:
    manifest = str(tmp_path / "looks.csv")
    once = run(config(training, tmp_path / "a", manifest=manifest))
    assert "Test split opened once so far, for 1 model." in once.lines
    twice = run(config(training, tmp_path / "b", manifest=manifest))
    assert "Test split opened 2 times so far, for 1 model." in twice.lines
    assert (tmp_path / "a" / "report.json").read_bytes() == (tmp_path / "b" / "report.json").read_bytes()
    record_opening(Path(manifest), MANIFEST.digest, "another model")
    record_opening(Path(manifest), "another manifest", "yet another")
    third = run(config(training, tmp_path / "c", manifest=manifest))
    assert "Test split opened 4 times so far, for 2 models." in third.lines
    assert any("has been opened for 2 models" in line for line in third.lines)
    assert report_in(tmp_path / "c").opened_for == 2


def test_other_splits_are_not_counted(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = tuple(case.model_copy(update={"split": Split.VALIDATION}) for case in CASES)
    given(monkeypatch, Manifest(findings=FINDINGS, cases=everyone))
    run(config(training, tmp_path / "out", split="validation"))
    assert not openings_path(tmp_path / "cohort.csv").exists()


def test_a_count_that_is_damaged_opens_nothing(training: Path, tmp_path: Path) -> None:
    openings_path(tmp_path / "cohort.csv").write_text("{}\n")
    with pytest.raises(ManifestError, match=r"openings\.jsonl, which counts .* is damaged"):
        run(config(training, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_case_that_cannot_be_read_costs_a_row(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, MANIFEST, frozenset({UNREADABLE}))
    outcome = run(config(training, tmp_path))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    (row,) = csv.DictReader((tmp_path / "rejections.csv").open(encoding="utf-8"))
    assert (row["case"], row["code"]) == (UNREADABLE, "CHANGED")
    report = report_in(tmp_path)
    assert (report.cases, report.rejected) == (29, 1)
    assert any("1 of 30 cases" in warning for warning in report.warnings)


def test_nothing_readable_is_a_failure_that_says_where_to_look(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, MANIFEST, frozenset(case.case for case in CASES))
    with pytest.raises(ManifestError, match=r"rejections\.csv"):
        run(config(training, tmp_path))
    assert len((tmp_path / "rejections.csv").read_text().splitlines()) == 31


def test_another_manifest_is_external(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Manifest(findings=FINDINGS[::-1], cases=CASES[:20], acknowledged_leaks=2)
    given(monkeypatch, other)
    outcome = run(config(training, tmp_path, split="all"))
    report = report_in(tmp_path)
    assert (report.external, report.split, report.cases, report.acknowledged_leaks) == (True, "all", 20, 2)
    assert any(line.startswith("WARNING: 2 patients or images") for line in outcome.lines)


def test_a_manifest_with_other_classes_is_refused_before_anything_is_read(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, Manifest(findings=FINDINGS[1:], cases=CASES))
    with pytest.raises(ManifestError, match="lesion is missing"):
        run(config(training, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_training_split_warns_loudly(training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = tuple(case.model_copy(update={"split": Split.TRAIN}) for case in CASES)
    given(monkeypatch, Manifest(findings=FINDINGS, cases=everyone))
    package = training / "package"
    monkeypatch.setattr(Manifest, "digest", load_package(package).manifest_digest)
    outcome = run(config(training, tmp_path, split="train"))
    assert any(line.startswith("WARNING: The model was trained on these cases") for line in outcome.lines)
    assert "say nothing about new patients" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_scores_and_plots_join_the_run_that_made_the_model(
    training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(training)
    journal.metrics({"loss": 0.5}, step=1)
    journal.end("FINISHED")
    journal.close()
    save_settings(training, TrackingSettings(registered_model=""))

    for _ in range(2):
        outcome = run(config(training, tmp_path, track=True))

    client = MlflowClient(f"sqlite:///{training.parent / 'mlflow.db'}")
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    auroc = next(score for score in report_in(tmp_path).findings[0].scores if score.metric == "auroc")
    assert found.data.metrics["test/lesion/auroc"] == pytest.approx(auroc.value)
    assert found.data.metrics["test/lesion/auroc/low"] == pytest.approx(auroc.low)
    assert found.data.metrics["loss"] == 0.5
    assert found.info.status == "FINISHED"
    assert found.info.run_id in outcome.lines[-1]
    names = {Path(entry.path).name for entry in client.list_artifacts(found.info.run_id, "evaluation/test")}
    assert {"report.html", "report.json", "roc_lesion.png"} <= names
    assert not names & {"rejections.csv", "evaluated.csv"}

    def steps(name: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, name)]

    assert steps("test/lesion/auroc") == [(0, pytest.approx(auroc.value))]
    monkeypatch.setattr(stage, "flat_metrics", lambda report, where: {f"{where}/lesion/auroc": 0.25})
    run(config(training, tmp_path, track=True))
    assert steps("test/lesion/auroc") == [(0, pytest.approx(auroc.value)), (1, 0.25)]
    assert client.get_run(found.info.run_id).data.metrics["test/lesion/auroc"] == 0.25


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_member_of_folds_is_no_stranger_to_the_cohort_it_was_dealt_from(
    split: str, training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own splits have another digest; yet it learned from validation cases of the cohort, and from no test case."""
    everyone = tuple(case.model_copy(update={"split": Split(split)}) for case in CASES)
    manifest = Manifest(findings=FINDINGS, cases=everyone)
    given(monkeypatch, manifest)
    whole = load_package(training / "package")
    save_package(
        tmp_path / "member" / "package",
        classifier_state=whole.build_classifier().state_dict(),
        network=whole.network,
        plan=whole.plan,
        fingerprint=whole.fingerprint.model_copy(update={"manifest": manifest.digest}),
        findings=whole.findings,
        calibration=whole.calibration,
        operating_points=whole.operating_points,
        manifest_digest="of the splits of the first fold",
        card=whole.card,
    )
    outcome = run(config(tmp_path / "member", tmp_path / "out", split=split))
    assert not report_in(tmp_path / "out").external
    learned = any(line.startswith("WARNING: The model was trained on these cases") for line in outcome.lines)
    assert learned == (split == "validation")


def test_the_report_names_the_engine_that_answered_and_not_the_question(
    training: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(config(training, tmp_path / "a", engine={"kind": "auto", "threads": 1}))
    assert report_in(tmp_path / "a").engine == "torch"
    assert "`resdx export` measures" in caplog.text
    run(config(training, tmp_path / "b", engine={"precision": "bf16", "device": "cpu"}))
    assert report_in(tmp_path / "b").engine == "torch bf16"
