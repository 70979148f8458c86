import numpy as np
import pytest
import sklearn.metrics as sk
from numpy.typing import NDArray
from phantoms.evaluations import FINDINGS, GRADE, LESION, ORGAN, SIGNS, cohort
from scipy.special import expit, softmax

from pipeline.domain.case import Case, Split
from pipeline.domain.score import Calibration, FindingReport, OperatingPoint, Report, Score
from pipeline.evaluation.report import evaluate
from pipeline.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=200)
CASES, LOGITS = cohort()
POINT = OperatingPoint(finding="lesion", threshold=0.4, rule="youden")


def report_of(
    cases: tuple[Case, ...] = CASES,
    logits: NDArray[np.float32] = LOGITS,
    settings: EvaluationSettings = SETTINGS,
    calibration: tuple[Calibration, ...] = (),
    **changes: object,
) -> Report:
    given: dict[str, object] = {"model": "m" * 64, "manifest": "a" * 64, "split": Split.TEST} | changes
    return evaluate(FINDINGS, cases, logits, calibration, (POINT,), settings, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of()


def named(scores: tuple[Score, ...]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def truth_of(finding: str, cases: tuple[Case, ...] = CASES) -> list[str]:
    return [case.labels[finding] for case in cases]


def test_every_number_has_an_interval_and_says_what_it_rests_on(report: Report) -> None:
    for finding in report.findings:
        for score in (*finding.scores, *(s for scores in finding.per_class.values() for s in scores)):
            assert score.value is not None and score.low is not None and score.high is not None, score
            assert score.low <= score.value <= score.high
            assert (score.cases, score.patients, score.level) == (160, 80, 0.95)
            assert "resamples of patients" in score.method or "exact" in score.method


def test_a_binary_finding_is_judged_at_its_frozen_threshold(report: Report) -> None:
    lesion = report.findings[0]
    scores = named(lesion.scores)
    positive = np.array(truth_of("lesion")) == "yes"
    probability = expit(LOGITS[:, 0].astype(float))
    called = probability >= 0.4
    assert scores["auroc"].value == pytest.approx(sk.roc_auc_score(positive, probability))
    assert scores["sensitivity"].value == pytest.approx(called[positive].mean())
    assert scores["specificity"].value == pytest.approx((~called[~positive]).mean())
    assert np.array(lesion.confusion) == pytest.approx(sk.confusion_matrix(positive, called))
    assert lesion.counts == {"no": int((~positive).sum()), "yes": int(positive.sum())}
    assert lesion.operating_point == POINT
    assert lesion.per_class == {}


def test_the_temperature_moves_probabilities_and_not_auroc() -> None:
    warm = report_of(calibration=(Calibration(finding="lesion", temperature=3.0),))
    cold = report_of()
    assert named(warm.findings[0].scores)["auroc"] == named(cold.findings[0].scores)["auroc"]
    expected = sk.brier_score_loss(np.array(truth_of("lesion")) == "yes", expit(LOGITS[:, 0].astype(float) / 3))
    assert named(warm.findings[0].scores)["brier"].value == pytest.approx(expected)


def test_several_classes_are_judged_whole_and_one_by_one(report: Report) -> None:
    organ = report.findings[1]
    truth = np.array([ORGAN.classes.index(name) for name in truth_of("organ")])
    probabilities = softmax(LOGITS[:, 1:4].astype(float), axis=1)
    scores = named(organ.scores)
    assert scores["macro_auroc"].value == pytest.approx(sk.roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert scores["accuracy"].value == pytest.approx(sk.accuracy_score(truth, probabilities.argmax(axis=1)))
    for index, name in enumerate(ORGAN.classes):
        one = named(organ.per_class[name])
        assert one["auroc"].value == pytest.approx(sk.roc_auc_score(truth == index, probabilities[:, index]))
        called = probabilities.argmax(axis=1) == index
        assert one["sensitivity"].value == pytest.approx(sk.recall_score(truth == index, called))
    assert np.array(organ.confusion).sum() == 160
    assert "quadratic_kappa" in named(report.findings[3].scores)
    assert "quadratic_kappa" not in scores


def test_a_multilabel_finding_is_judged_label_by_label(report: Report) -> None:
    signs = report.findings[2]
    truth = np.array([["edema" in value, "nodule" in value] for value in truth_of("signs")])
    probabilities = expit(LOGITS[:, 4:6].astype(float))
    expected = [sk.roc_auc_score(truth[:, index], probabilities[:, index]) for index in range(2)]
    assert [named(signs.per_class[name])["auroc"].value for name in SIGNS.classes] == pytest.approx(expected)
    assert named(signs.scores)["macro_auroc"].value == pytest.approx(np.mean(expected))
    assert signs.confusion == ()
    assert signs.counts == {"edema": int(truth[:, 0].sum()), "nodule": int(truth[:, 1].sum())}


def test_unknown_truth_is_left_out_finding_by_finding(report: Report) -> None:
    changed = list(CASES)
    changed[0] = changed[0].model_copy(update={"labels": {n: v for n, v in CASES[0].labels.items() if n != "lesion"}})
    changed[1] = changed[1].model_copy(update={"labels": CASES[1].labels | {"signs": "?edema|nodule"}})
    found = report_of(tuple(changed))
    lesion, organ, signs, _ = found.findings
    assert (lesion.unknown, lesion.scores[0].cases, organ.scores[0].cases) == (1, 159, 160)
    assert lesion.scores == report_of(CASES[1:], LOGITS[1:]).findings[0].scores or lesion.scores[0].patients == 80
    assert (signs.per_class["edema"][0].cases, signs.per_class["nodule"][0].cases) == (159, 160)
    assert "truth of 1 cases is not known" in " ".join(lesion.warnings)
    assert organ == report.findings[1]


def test_it_does_not_depend_on_the_order_of_the_cases(report: Report) -> None:
    order = np.random.default_rng(0).permutation(len(CASES))
    moved = report_of(tuple(CASES[index] for index in order), LOGITS[order])
    for before, after in zip(report.findings, moved.findings, strict=True):
        for a, b in zip(before.scores, after.scores, strict=True):
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-12)


def test_it_is_the_same_each_time_and_survives_json(report: Report) -> None:
    assert report_of() == report
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_cases_of_one_patient_stand_together(report: Report) -> None:
    lonely = tuple(case.model_copy(update={"patient": case.case}) for case in CASES)
    apart = report_of(lonely).findings[0]
    assert named(apart.scores)["auroc"].patients == 160
    assert named(apart.scores)["auroc"].low != named(report.findings[0].scores)["auroc"].low


def warnings_of(finding: FindingReport) -> str:
    return " ".join(finding.warnings)


def test_it_warns_of_too_few_positives() -> None:
    cases = tuple(
        case.model_copy(update={"labels": case.labels | {"lesion": "yes" if number < 9 else "no"}})
        for number, case in enumerate(CASES)
    )
    assert "only 9 cases with 'yes'" in warnings_of(report_of(cases).findings[0])
    ten = (*cases[:9], cases[9].model_copy(update={"labels": cases[9].labels | {"lesion": "yes"}}), *cases[10:])
    assert report_of(ten).findings[0].warnings == ()


def test_one_class_only_has_reasons_instead_of_numbers() -> None:
    cases = tuple(case.model_copy(update={"labels": case.labels | {"lesion": "no"}}) for case in CASES)
    scores = named(report_of(cases).findings[0].scores)
    assert (scores["auroc"].value, scores["sensitivity"].value) == (None, None)
    assert "positive" in scores["auroc"].note
    assert scores["specificity"].value is not None


def test_stated_prevalence_follows_bayes() -> None:
    scores = named(report_of(settings=EvaluationSettings(resamples=200, prevalence=0.02)).findings[0].scores)
    sensitivity, specificity = scores["sensitivity"].value, scores["specificity"].value
    assert sensitivity is not None and specificity is not None
    expected = 0.02 * sensitivity / (0.02 * sensitivity + 0.98 * (1 - specificity))
    assert scores["ppv_at_prevalence"].value == pytest.approx(expected)
    assert "0.02" in scores["ppv_at_prevalence"].note
    low, high = scores["ppv_at_prevalence"].low, scores["ppv_at_prevalence"].high
    assert low is not None and high is not None and low < expected < high
    assert "ppv_at_prevalence" not in named(report_of().findings[0].scores)


def test_a_perfect_specificity_does_not_make_ppv_certain() -> None:
    logits = LOGITS.copy()
    logits[np.array(truth_of("lesion")) == "no", 0] = -9
    found = report_of(logits=logits, settings=EvaluationSettings(resamples=200, prevalence=0.02)).findings[0]
    scores = named(found.scores)
    ppv, sensitivity, specificity = (scores[name] for name in ("ppv_at_prevalence", "sensitivity", "specificity"))
    assert (specificity.value, ppv.value, ppv.high) == (1.0, 1.0, 1.0)
    assert sensitivity.low is not None and specificity.low is not None
    wrong = 0.98 * (1 - specificity.low)
    assert ppv.low == pytest.approx(0.02 * sensitivity.low / (0.02 * sensitivity.low + wrong))
    assert "bounds" in ppv.method


def test_what_bayes_cannot_give_has_its_own_reason() -> None:
    logits = LOGITS.copy()
    logits[:, 0] = 9
    scores = named(
        report_of(logits=logits, settings=EvaluationSettings(resamples=200, prevalence=0.02)).findings[0].scores
    )
    assert scores["npv_at_prevalence"].value is None
    assert "no case would be decided negative" in scores["npv_at_prevalence"].note


def test_it_says_what_to_be_careful_about() -> None:
    text = " ".join(report_of(acknowledged_leaks=3, rejected=2, split=Split.TRAIN, trained_on="a" * 64).warnings)
    assert "3 patients or images stand in two splits" in text
    assert "2 of 162 cases could not be read" in text
    assert "trained on" in text
    assert "chosen on these cases" in " ".join(report_of(split=Split.VALIDATION).warnings)
    assert report_of(trained_on="a" * 64).warnings == ()


def test_external_means_another_manifest() -> None:
    assert report_of(trained_on="b" * 64).external is True
    assert report_of(trained_on="a" * 64).external is False
    (warning,) = report_of(trained_on="b" * 64, split=Split.TRAIN).warnings
    assert "was not checked" in warning


def test_subgroups_are_scored_apart(report: Report) -> None:
    groups = {(group.covariate, group.value): group.score for group in report.findings[0].subgroups}
    assert {covariate for covariate, _ in groups} == {"vendor", "age"}
    is_a = np.array([case.covariates["vendor"] == "A" for case in CASES])
    positive = np.array(truth_of("lesion")) == "yes"
    score = groups["vendor", "A"]
    assert score.value == pytest.approx(sk.roc_auc_score(positive[is_a], LOGITS[is_a, 0]))
    assert (score.metric, score.cases, score.patients) == ("auroc", 80, 40)
    assert {value for covariate, value in groups if covariate == "age"} == {
        "under 18", "18 to 39", "40 to 64", "65 and over",
    }  # fmt: skip
    assert report.findings[1].subgroups[0].score.metric == "macro_auroc"


@pytest.mark.parametrize(
    ("age", "band"),
    [("17", "under 18"), ("18", "18 to 39"), ("90", "65 and over"), ("", "not known"), ("x", "not known"),
     ("nan", "not known"), ("64.5", "40 to 64")],
)  # fmt: skip
def test_ages_are_banded(age: str, band: str) -> None:
    from pipeline.evaluation.subgroups import group_of

    assert group_of(CASES[0].model_copy(update={"covariates": {"age": age}}), "age") == band


def test_an_ordinal_finding_has_its_classes_in_order(report: Report) -> None:
    grade = report.findings[3]
    assert grade.classes == GRADE.classes == tuple(grade.per_class)
    assert report.findings[0].classes == LESION.classes
