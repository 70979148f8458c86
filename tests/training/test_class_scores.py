"""Scores by class against counts done by hand, and the watch of steps against a clock that is turned by hand."""

import numpy as np
import pytest

from pipeline.domain.finding import Finding, FindingKind
from pipeline.training import step_times
from pipeline.training.class_scores import class_scores
from pipeline.training.selection import aurocs
from pipeline.training.step_times import StepTimes

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIZE = Finding(name="size", kind=FindingKind.MULTICLASS, classes=("none", "small", "large"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("mass", "fluid"))


def test_a_binary_finding_is_called_from_one_half_on_and_unknown_labels_count_nowhere() -> None:
    logits = np.array([[2.0], [0.0], [-1.0], [3.0], [-2.0], [9.0]])
    labels = np.array([[1], [1], [1], [0], [0], [-1]])

    scores = class_scores([LESION], logits, labels)

    assert scores == {
        "val/sensitivity/lesion/yes": pytest.approx(2 / 3),
        "val/specificity/lesion/yes": pytest.approx(1 / 2),
    }
    # pairs of a positive and a negative case: (2, 3) lost, (2, -2) won; (0, 3) lost, (0, -2) won; (-1, 3), (-1, -2)
    assert aurocs([LESION], logits, labels) == {"lesion": pytest.approx(3 / 6)}


def test_classes_are_scored_one_against_the_rest() -> None:
    logits = np.log(np.array([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]))
    labels = np.array([[0], [1], [1], [0]])

    scores = class_scores([SIZE], logits, labels)

    assert scores == {
        "val/auroc/size/none": pytest.approx(2.5 / 4),  # 0.6 beats both, 0.1 ties with one and loses to the other
        "val/auroc/size/small": pytest.approx(1.5 / 4),
        "val/sensitivity/size/none": 0.5,
        "val/specificity/size/none": 0.5,
        "val/sensitivity/size/small": 0.5,
        "val/specificity/size/small": 0.5,
        "val/specificity/size/large": 1.0,
    }
    assert aurocs([SIZE], logits, labels) == {"size": pytest.approx(4 / 8)}


def test_labels_of_several_classes_are_called_each_for_itself() -> None:
    logits = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    labels = np.array([[1, 0], [0, -1], [0, 1]])

    scores = class_scores([SIGNS], logits, labels)

    assert scores["val/sensitivity/signs/mass"] == 1.0
    assert scores["val/specificity/signs/mass"] == 0.5
    assert (scores["val/sensitivity/signs/fluid"], scores["val/specificity/signs/fluid"]) == (1.0, 1.0)
    assert scores["val/auroc/signs/mass"] == 0.75


def test_a_step_is_waiting_and_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now[0])
    times = StepTimes()
    assert times.metrics() == {}

    def steps() -> None:
        for wait, compute in ((1.0, 2.0), (3.0, 4.0), (0.5, 1.5)):
            now[0] += wait
            times.arrived()
            now[0] += compute
            times.done()

    steps()
    now[0] += 50  # validation
    times.restart()
    steps()
    now[0] += 1
    times.arrived()  # a step that is broken off counts nowhere

    found = times.metrics()
    assert found["seconds/wait_for_data"] == pytest.approx(1.5)
    assert found["seconds/compute"] == pytest.approx(2.5)
    assert found["seconds/step"] == pytest.approx(4.0)
    # the 95th percentile of 2, 3 and 7 lies nine tenths of the way from 3 to 7
    assert found["seconds/step_p95"] == pytest.approx(3.0 + 0.9 * 4.0)
    assert set(found) == {f"seconds/{lap}{end}" for lap in ("step", "wait_for_data", "compute") for end in ("", "_p95")}
