"""A choice by few validation cases is told as such; one by many, or none at all, is not."""

import numpy as np
import pytest

from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.few_cases import FEW, chosen_by_few, rarest_answer

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("a", "b"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("0", "1", "2"))
HISTORY = [{"val/auroc": value} for value in (0.7, 0.91, 0.8, 0.85)]


def test_the_rarest_answer_is_counted_over_findings_classes_and_their_absence() -> None:
    lesion = np.array([0] * 3 + [1] * 9 + [-1] * 8)
    assert rarest_answer([LESION], lesion[:, None]) == 3
    signs = np.stack([np.repeat([0, 1], 10), np.array([1] * 18 + [0] * 2)], axis=1)
    assert rarest_answer([LESION, SIGNS], np.column_stack([lesion, signs])) == 2
    assert rarest_answer([GRADE], np.array([0] * 4 + [1] * 1 + [2] * 7)[:, None]) == 1


@pytest.mark.parametrize("rarest", [1, FEW - 1])
def test_a_choice_by_few_is_told_with_what_was_left(rarest: int) -> None:
    (line,) = chosen_by_few(HISTORY, 2, 78, rarest)
    assert "Epoch 2 is the best of 4 by AUROC, 0.910; the last has 0.850" in line
    assert f"on 78 validation cases, {rarest} of them" in line


def test_a_choice_by_many_or_of_the_last_is_not() -> None:
    assert chosen_by_few(HISTORY, 2, 1000, FEW) == ()
    assert chosen_by_few(HISTORY, 4, 78, 1) == ()
