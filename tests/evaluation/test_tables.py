import csv
import io

import pytest
from phantoms.evaluations import FINDINGS, GRADE, LESION, ORGAN, cohort
from phantoms.packages import make_plan

from pipeline.domain.case import Split
from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.manifest import Manifest
from pipeline.domain.rejection import Rejection
from pipeline.domain.score import OperatingPoint, Report
from pipeline.domain.selection import Selection
from pipeline.errors import ManifestError
from pipeline.evaluation.report import evaluate, make_bootstrap
from pipeline.evaluation.samples import Answers, answers_of
from pipeline.evaluation.selection import cases_to_score, check_channels, check_findings
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.evaluation.summary import flat_metrics, score_lines
from pipeline.evaluation.table import evaluated_table, rejection_table

SETTINGS = EvaluationSettings(resamples=100)
CASES, LOGITS = cohort(count=40)
POINTS = (OperatingPoint(finding="lesion", threshold=0.4, rule="youden"),)


def answers() -> tuple[Answers, ...]:
    return answers_of(FINDINGS, CASES, LOGITS, (), POINTS, make_bootstrap(CASES, SETTINGS).patients)


def report() -> Report:
    return evaluate(FINDINGS, CASES, LOGITS, (), POINTS, SETTINGS, model="m", manifest="a", split=Split.TEST)


def test_each_case_is_a_row_with_truth_decision_and_probabilities() -> None:
    rows = list(csv.DictReader(io.StringIO(evaluated_table(CASES, answers()))))
    assert [row["case"] for row in rows] == [case.case for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        assert (row["lesion_truth"], row["signs_truth"]) == (case.labels["lesion"], case.labels["signs"])
        assert row["lesion_decision"] == ("yes" if float(row["lesion_p_yes"]) >= 0.4 else "no")
        organ = {name: float(row[f"organ_p_{name}"]) for name in ORGAN.classes}
        assert row["organ_decision"] == max(organ, key=organ.__getitem__)
        assert sum(organ.values()) == pytest.approx(1, abs=2e-6)
        assert row["signs_decision"] == "|".join(s for s in ("edema", "nodule") if float(row[f"signs_p_{s}"]) >= 0.5)
        assert len(row["lesion_p_yes"]) == 8


def test_truth_that_is_not_known_is_a_question_mark_and_no_cell_is_a_formula() -> None:
    odd = Finding(name="odd", kind=FindingKind.MULTICLASS, classes=("=1+1", "@b", "c"))
    cases, logits = cohort((odd,), count=20)
    cases = (cases[0].model_copy(update={"labels": {}}), *cases[1:])
    patients = make_bootstrap(cases, SETTINGS).patients
    rows = list(csv.reader(io.StringIO(evaluated_table(cases, answers_of((odd,), cases, logits, (), (), patients)))))
    assert rows[1][3] == "?"
    cells = [cell for row in rows[1:] for cell in row]
    assert "'=1+1" in cells
    assert not any(cell.startswith(("=", "@")) for cell in cells)


def test_rejections_carry_the_remedy_of_their_code() -> None:
    one = Rejection(path="C1", sha256="f" * 64, series="S1", code=Code.CHANGED, stage="read", message="other, bytes")
    (row,) = csv.DictReader(io.StringIO(rejection_table([one])))
    assert (row["case"], row["code"], row["message"]) == ("C1", "CHANGED", "other, bytes")
    assert "ingest" in row["remedy"]


def test_a_manifest_must_ask_the_models_questions() -> None:
    check_findings((LESION, GRADE), FINDINGS[::-1])
    swapped = Finding(name="lesion", kind=FindingKind.BINARY, classes=("yes", "no"), positive="no")
    reordered = ORGAN.model_copy(update={"classes": ORGAN.classes[::-1]})
    with pytest.raises(ManifestError) as caught:
        check_findings(FINDINGS, (swapped, reordered, GRADE))
    message = str(caught.value)
    assert "lesion is binary yes/no, the model says binary no/yes" in message
    assert "organ is" in message and "signs is missing" in message and "grade" not in message


def test_a_manifest_must_stack_the_models_channels() -> None:
    def stacked(*names: str) -> Selection:
        return Selection.from_mapping({"channels": [{"name": name, "description": name} for name in names]})

    plan = make_plan(3).model_copy(update={"select": stacked("T1", "T2")})
    check_channels(plan, Manifest(findings=FINDINGS, cases=CASES, select=stacked("T1", "T2")))
    check_channels(plan, Manifest(findings=FINDINGS, cases=CASES))
    with pytest.raises(ManifestError, match="channels T2, T1; the model was trained on T1, T2"):
        check_channels(plan, Manifest(findings=FINDINGS, cases=CASES, select=stacked("T2", "T1")))


def test_the_split_decides_which_cases_are_scored() -> None:
    cases = (CASES[0].model_copy(update={"split": Split.TRAIN, "patient": "other"}), *CASES[1:])
    manifest = Manifest(findings=FINDINGS, cases=cases)
    assert cases_to_score(manifest, "test", FINDINGS) == cases[1:]
    assert cases_to_score(manifest, "all", FINDINGS) == cases
    with pytest.raises(ManifestError, match="validation split"):
        cases_to_score(manifest, "validation", FINDINGS)
    blank = Manifest(findings=FINDINGS, cases=tuple(case.model_copy(update={"labels": {}}) for case in cases))
    with pytest.raises(ManifestError, match="known label"):
        cases_to_score(blank, "all", FINDINGS)


def test_tracked_numbers_are_those_of_the_report() -> None:
    found = flat_metrics(report(), "test")
    auroc = next(score for score in report().findings[0].scores if score.metric == "auroc")
    assert found["test/lesion/auroc"] == auroc.value
    assert (found["test/lesion/auroc/low"], found["test/lesion/auroc/high"]) == (auroc.low, auroc.high)
    assert "test/organ/macro_auroc" in found and "test/signs/edema/auroc" in found


def test_score_lines_hold_every_score_with_its_interval() -> None:
    lines = score_lines(report())
    assert len(lines) == sum(len(finding.scores) for finding in report().findings)
    auroc = next(score for score in report().findings[0].scores if score.metric == "auroc")
    line = next(line for line in lines if line.startswith("lesion") and "AUROC" in line)
    assert f"{auroc.value:.3f}  ({auroc.low:.3f} to {auroc.high:.3f}; 40 cases, 20 patients)" in line


def test_an_interval_without_width_is_not_printed_as_one() -> None:
    told = report()
    perfect = told.findings[0].scores[0].model_copy(update={"low": 1.0, "high": 1.0, "value": 1.0, "note": "why"})
    finding = told.findings[0].model_copy(update={"scores": (perfect,)})
    (line,) = score_lines(told.model_copy(update={"findings": (finding,)}))
    assert line.endswith("1.000  (40 cases, 20 patients; why)")
