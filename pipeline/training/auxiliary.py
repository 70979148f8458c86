"""Measurements that a network learns to tell beside the findings (multitask learning, Caruana 1997).

They end where training ends: the head that tells them is no part of the classifier, so package, exports and predictions
know nothing of it.
"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.domain.case import Case
from pipeline.errors import TrainingError
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.spare_head import SpareHead

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
"""As a spreadsheet in English writes it; nothing else that Python takes for one."""

LEAST = 2
"""Training cases that must have a measurement, of different values: fewer have no spread to measure errors in."""


def measures_beside(settings: AuxiliarySettings, cases: Sequence[Case]) -> dict[str, Tensor] | None:
    """Measurements of training cases that are learned beside the findings, in standard deviations from their mean.

    Returns
    -------
    dict of str to Tensor of float32, shape (covariates,), or None
        By case; NaN where a measurement is not known. None where the findings alone are learned.

    Raises
    ------
    TrainingError
        A covariate is no number, is known of too few cases, or is the same in all.
    """
    if not settings.covariates:
        return None
    columns = [_standardised(name, cases) for name in settings.covariates]
    rows = torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
    return {case.case: row for case, row in zip(cases, rows, strict=True)}


def _standardised(name: str, cases: Sequence[Case]) -> NDArray[np.float64]:
    texts = [case.covariates.get(name, "").strip() for case in cases]
    if not any(texts):
        there = sorted({other for case in cases for other, text in case.covariates.items() if text.strip()})
        raise TrainingError(
            f"training.auxiliary: no training case has the covariate {name}; the manifest has "
            f"{', '.join(there) or 'none'}.",
            "Correct its name, or map a column to it in labels.covariates of ingest.",
        )
    values = np.array([_number(text) for text in texts])
    if strange := [
        (case.case, text) for case, text, value in zip(cases, texts, values, strict=True) if np.isinf(value)
    ]:
        raise TrainingError(
            f"training.auxiliary: the covariate {name} is no number in {len(strange)} of {len(cases)} training cases, "
            f"such as {', '.join(f'{text!r} ({case})' for case, text in strange[:5])}.",
            "In the label file write numbers with a decimal point and without units, leave blank what is not known, "
            "and ingest again.",
        )
    known = values[np.isfinite(values)]
    spread = float(known.std()) if len(known) >= LEAST else 0.0
    if not np.finfo(np.float32).tiny < spread < np.finfo(np.float32).max:
        said = "the same in all" if len(known) >= LEAST else f"known of {len(known)}"
        raise TrainingError(
            f"training.auxiliary: the covariate {name} is {said} of {len(cases)} training cases and teaches nothing.",
            "Take it out of training.auxiliary.covariates, or complete it in the label file and ingest again.",
        )
    scaled: NDArray[np.float64] = (values - known.mean()) / spread
    return scaled


def _number(text: str) -> float:
    """Read a number; NaN: not known; infinite: no number."""
    if not text:
        return math.nan
    return float(text) if NUMBER.fullmatch(text) else math.inf


class Auxiliary(SpareHead):
    """A head, and what it is to say of each training case.

    Parameters
    ----------
    features : int
        Of the backbone.
    measures : mapping of str to Tensor, shape (k,)
        By case; see :func:`measures_beside`.
    """

    def __init__(self, settings: AuxiliarySettings, features: int, measures: Mapping[str, Tensor]) -> None:
        super().__init__(features, len(settings.covariates), settings.weight)
        self._measures = measures

    def known(self, case_ids: Sequence[str]) -> Tensor:
        """Count the measurements that are known of some cases, shape (1,)."""
        return self._wanted(case_ids).isfinite().sum()[None]

    def forward(self, features: Tensor, case_ids: Sequence[str]) -> Tensor:
        """Sum the squared errors of all measurements that are known, in squares of standard deviations.

        Parameters
        ----------
        features : Tensor of float32, shape (n, features)
        case_ids : sequence of str, n of them
        """
        wanted = self._wanted(case_ids).to(features.device)
        with torch.autocast(features.device.type, enabled=False):
            told: Tensor = self.head(features)
        return torch.where(wanted.isfinite(), told - wanted.nan_to_num(), 0.0).square().sum()

    def _wanted(self, case_ids: Sequence[str]) -> Tensor:
        return torch.stack([self._measures[case] for case in case_ids])
