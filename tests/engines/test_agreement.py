"""Known differences of logits give known rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.engines import CASES, decided_package
from phantoms.evaluations import FINDINGS
from sklearn.metrics import roc_auc_score

from pipeline.domain.encoding import class_probabilities, output_slices
from pipeline.engines.agreement import Judge, run_in_turns
from pipeline.engines.engine import Answer
from pipeline.engines.parity import ParityRow
from pipeline.package.package import ModelPackage

OUTPUTS = 8
TEMPERATURE = 1.5


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return decided_package(tmp_path_factory.mktemp("agreement") / "package", ndim=2)


def logits() -> NDArray[np.float32]:
    found = np.random.default_rng(0).normal(0, 2, size=(24, OUTPUTS)).astype(np.float32)
    found[:, 6:] = -np.sort(-found[:, 6:], axis=1)
    return found


def test_equal_logits_differ_by_nothing(package: ModelPackage) -> None:
    found = Judge(package, CASES[:24], logits()).compare(logits())
    assert (found.largest, found.most, found.auroc_change, found.flipped, found.not_finite) == (0, 0, 0, 0, 0)


def test_one_case_that_moves_is_seen_whatever_the_others_do(package: ModelPackage) -> None:
    """A mean, or an AUROC, would hide it."""
    mine, point = logits(), package.operating_points[0].threshold
    mine[5, 0] = -mine[5, 0] + 8 * np.sign(-mine[5, 0])
    chance = [class_probabilities(FINDINGS[0], row[:, :1], TEMPERATURE)[5, 1] for row in (logits(), mine)]

    found = Judge(package, CASES[:24], logits()).compare(mine)

    assert found.largest == pytest.approx(abs(chance[0] - chance[1]))
    assert found.most == 0
    assert found.by_case.argmax() == 5
    assert found.flipped == int((chance[0] >= point) != (chance[1] >= point))


@pytest.mark.parametrize("column", range(OUTPUTS))
def test_every_output_of_every_kind_counts(column: int, package: ModelPackage) -> None:
    mine = logits()
    mine[:, column] += 0.5
    assert Judge(package, CASES[:24], logits()).compare(mine).largest > 0.01


def test_the_change_of_auroc_is_that_of_scikit_learn(package: ModelPackage) -> None:
    true, mine = logits(), logits() + np.random.default_rng(1).normal(0, 1, size=(24, OUTPUTS)).astype(np.float32)
    slices = dict(zip([finding.name for finding in FINDINGS], output_slices(FINDINGS), strict=True))
    changes = []
    for finding in FINDINGS:
        temperature = TEMPERATURE if finding.name == "lesion" else 1.0
        before, after = (
            class_probabilities(finding, rows[:, slices[finding.name]], temperature) for rows in (true, mine)
        )
        for number, name in list(enumerate(finding.classes))[1 if finding.name == "lesion" else 0 :]:
            truth = [name in case.labels[finding.name].split("|") for case in CASES[:24]]
            if 0 < sum(truth) < 24:
                changes.append(abs(roc_auc_score(truth, before[:, number]) - roc_auc_score(truth, after[:, number])))

    found = Judge(package, CASES[:24], true).compare(mine).auroc_change

    assert len(changes) >= 6
    assert found == pytest.approx(max(changes), abs=1e-9)


def test_an_answer_that_is_not_finite_is_counted_and_never_agrees(package: ModelPackage) -> None:
    mine = logits()
    mine[3, 2] = np.nan
    found = Judge(package, CASES[:24], logits()).compare(mine)
    assert (found.not_finite, found.largest, found.by_case[3]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("precision", "measured", "word"),
    [
        ("32", {"largest": 9e-5, "most": 0}, ""),
        ("32", {"largest": 1.1e-4, "most": 0}, "more than 0.0001"),
        ("bf16", {"largest": 9e-3, "most": 0}, ""),
        ("bf16", {"largest": 1.1e-2, "most": 0}, "more than 0.01"),
        ("int8", {"largest": 0.049, "most": 0.019}, ""),
        ("int8", {"largest": 0.049, "most": 0.021}, "5% of the cases"),
        ("int8", {"largest": 0.48, "most": 0.001, "auroc_change": 0.001}, "more than 0.05"),
        ("int8", {"largest": 0.01, "most": 0.01, "auroc_change": 0.0021}, "AUROC"),
        ("bf16", {"largest": 0, "most": 0, "not_finite": 1}, "not finite"),
        ("bf16", {"largest": 0, "most": 0, "failure": "no such library"}, "no such library"),
    ],
)
def test_the_rule(precision: str, measured: dict[str, object], word: str) -> None:
    row = ParityRow.model_validate({"engine": {"kind": "x"}, "precision": precision, "seconds": 1} | measured)
    assert (word in row.problem) if word else not row.problem


def test_a_flipped_decision_agrees_by_the_rule_and_is_an_obstacle_all_the_same() -> None:
    row = ParityRow(engine={"kind": "x"}, precision="bf16", largest=1e-3, most=1e-3, flipped=1, seconds=1)
    assert not row.problem
    assert "1 decision at" in row.obstacle


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        ({"scope_changed": 2, "scope_moved": 0.05}, "2 verdicts on scope"),
        ({"scope_moved": 0.3}, "distances on which the verdict on scope rests move by 35%"),
        ({"scope_moved": 0.09}, ""),
    ],
)
def test_features_that_lie_elsewhere_are_an_obstacle(measured: dict[str, object], word: str) -> None:
    fields = {"engine": {"kind": "x"}, "precision": "int8", "largest": 1e-3, "most": 1e-3, "seconds": 1}
    row = ParityRow.model_validate(fields | measured)
    assert not row.problem
    assert (word in row.obstacle) if word else not row.obstacle


class Counting:
    """An engine that answers with how often it was asked."""

    name = "counting"

    def __init__(self, log: list[str], letter: str) -> None:
        self.log, self.letter, self.asked = log, letter, 0

    def answer(self, images: NDArray[np.float32]) -> Answer:
        self.log.append(self.letter)
        self.asked += 1
        return Answer(np.full((1, 1), self.asked, np.float32), np.empty((1, 0), np.float32))


def test_engines_take_turns_and_none_always_goes_first() -> None:
    order: list[str] = []
    images = [np.zeros((1, 2, 2), np.float32)] * 3

    answers, seconds = run_in_turns([Counting(order, "a"), Counting(order, "b")], images)

    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert [found.logits[:, 0].tolist() for found in answers] == [[2, 3, 4]] * 2
    assert all(value > 0 for value in seconds)
