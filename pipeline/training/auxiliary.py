"""Measurements that a network learns to tell beside the findings (multitask learning, Caruana 1997).

They end where training ends: the head that tells them is no part of the classifier, so package, exports and predictions
know nothing of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.domain.case import Case
from pipeline.errors import TrainingError
from pipeline.training.auxiliary_settings import AuxiliarySettings

LEAST = 2
"""Training cases that must have a measurement, of different values: fewer have no spread to measure errors in."""


def measures_of(cases: Sequence[Case], names: Sequence[str]) -> dict[str, Tensor]:
    """Measurements of training cases, in standard deviations from their mean.

    Parameters
    ----------
    names : sequence of str
        Covariates.

    Returns
    -------
    dict of str to Tensor of float32, shape (names,)
        By case; NaN where a measurement is not known.

    Raises
    ------
    TrainingError
        A covariate is no number, is known of too few cases, or is the same in all.
    """
    table = np.array([[_number(case, name) for name in names] for case in cases], dtype=np.float64)
    for name, column in zip(names, table.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known) < LEAST or np.ptp(known) == 0:
            said = "the same in all" if len(known) >= LEAST else f"known of {len(known)}"
            raise TrainingError(
                f"training.auxiliary: the covariate {name} is {said} of {len(cases)} training cases, so it teaches "
                "nothing.",
                "Take it out of training.auxiliary.covariates, or map a column to it in labels.covariates of ingest.",
            )
    scaled = (table - np.nanmean(table, axis=0)) / np.nanstd(table, axis=0)
    return {case.case: torch.from_numpy(row) for case, row in zip(cases, scaled.astype(np.float32), strict=True)}


def _number(case: Case, name: str) -> float:
    text = case.covariates.get(name, "").strip()
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TrainingError(
            f"training.auxiliary: the covariate {name} of case {case.case} is {text!r}, which is no number.",
            "Correct it in the label file and ingest again, or leave it blank there: then it is not known.",
        )
    return value


class Auxiliary(nn.Module):
    """A linear head behind the pooled features, and what it is to say of each training case.

    Its weights begin at zero, so that a run draws the same random numbers with it and without.

    Parameters
    ----------
    features : int
        Of the backbone.
    measures : mapping of str to Tensor, shape (k,)
        By case; see :func:`measures_of`.
    """

    def __init__(self, settings: AuxiliarySettings, features: int, measures: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.head = nn.Linear(features, len(settings.covariates))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._weight = settings.weight
        self._measures = measures

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Arguments of a torch optimizer: the matrix decays, the biases do not."""
        return [
            {"params": [self.head.weight], "weight_decay": weight_decay},
            {"params": [self.head.bias], "weight_decay": 0.0},
        ]

    def forward(self, features: Tensor, case_ids: Sequence[str]) -> Tensor:
        """Sum over cases of the mean squared error over their measurements, weighed; unknown ones add nothing.

        Parameters
        ----------
        features : Tensor of float32, shape (n, features)
        case_ids : sequence of str, n of them
        """
        wanted = torch.stack([self._measures[case] for case in case_ids]).to(features.device)
        with torch.autocast(features.device.type, enabled=False):
            errors = self.head(features) - wanted.nan_to_num()
            total: Tensor = (errors.square() * wanted.isfinite()).sum()
        return total * self._weight / wanted.shape[1]
