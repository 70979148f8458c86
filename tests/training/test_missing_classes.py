"""Which classes are missed, by kind of finding."""

import numpy as np
import pytest

from pipeline.domain.case import UNKNOWN
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.training.missing_classes import check_auroc
from pipeline.training.selection import has_auroc

BINARY = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
GRADES = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("one", "two", "three"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("cyst", "nodule"))


@pytest.mark.parametrize(
    ("finding", "labels", "lacking"),
    [
        (BINARY, [[0], [0], [UNKNOWN]], "lesion is yes"),
        (BINARY, [[UNKNOWN], [UNKNOWN]], "lesion is no, yes"),
        (BINARY, [[0], [1]], ""),
        (GRADES, [[1], [1]], "grade is one, three"),
        (GRADES, [[1], [2]], ""),  # the mean over the classes that can be told from the others
        (SIGNS, [[0, 1], [0, 1], [UNKNOWN, UNKNOWN]], "signs is known both to have and to lack any class"),
        (SIGNS, [[0, 1], [0, 0]], ""),
    ],
)
def test_what_auroc_lacks_is_named(finding: Finding, labels: list[list[int]], lacking: str) -> None:
    known = np.array(labels, dtype=np.int64)
    assert has_auroc([finding], known) == (not lacking)
    if lacking:
        with pytest.raises(TrainingError, match=f"no validation case of {lacking}") as refused:
            check_auroc([finding], known, "objective: auroc")
        assert "objective: loss" in refused.value.remedy
    else:
        check_auroc([finding], known, "objective: auroc")
