"""Does the model hold for everyone: one score for each value of a covariate."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.domain.case import Case
from pipeline.domain.score import Subgroup
from pipeline.evaluation.headline import headline
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.samples import Answers

AGE_BANDS = ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"))
"""Upper bound (years, exclusive) and name; older ones are ``65 and over``."""

OLDEST = "65 and over"
NOT_KNOWN = "not known"


def subgroups(
    answers: Answers, cases: Sequence[Case], covariates: Sequence[str], bootstrap: Bootstrap
) -> tuple[Subgroup, ...]:
    """Headline score (AUROC, macro AUROC for several classes) of the cases that share a covariate's value.

    A covariate that no case has, or that has one value only, tells nothing and is left out.
    """
    found: list[Subgroup] = []
    for covariate in covariates:
        values = np.array([group_of(case, covariate) for case in cases], dtype=object)
        names = sorted(set(values))
        if len(names) < 2:
            continue
        for name in names:
            score = headline(answers.where(values == name), bootstrap)
            found.append(Subgroup(covariate=covariate, value=name, score=score))
    return tuple(found)


def group_of(case: Case, covariate: str) -> str:
    """Value of a covariate, ages in bands of :data:`AGE_BANDS`."""
    value = case.covariates.get(covariate, "").strip()
    if covariate != "age":
        return value or NOT_KNOWN
    try:
        age = float(value)
    except ValueError:
        return NOT_KNOWN
    if not math.isfinite(age):
        return NOT_KNOWN
    return next((name for bound, name in AGE_BANDS if age < bound), OLDEST)
