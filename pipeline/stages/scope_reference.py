"""Gather what the scope gate of a package is fitted to, from the prepared training and validation cases."""

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case
from pipeline.domain.frozen import digest
from pipeline.domain.scope import ScopeReference
from pipeline.errors import RejectedInput
from pipeline.preprocessing.appearance import appearance, negative
from pipeline.preprocessing.cache import PreparedCache
from pipeline.progress import track
from pipeline.scope.fitting import FEWEST, Sample, fit_reference
from pipeline.scope.gate import Scan

log = logging.getLogger("resdx")

SAMPLED_CASES = 1000
"""Cases of each split that are looked at, chosen by the digest of their pseudonym: the same ones on every run."""

SAMPLED_FEATURES = 300
"""Training cases that the network is run on for it."""

Features = Mapping[str, NDArray[np.float32]]


def sampled(cases: Sequence[Case], most: int) -> list[Case]:
    """Choose cases in an order that depends on nothing but their pseudonyms."""
    return sorted(cases, key=lambda case: digest(case.case))[:most]


def make_reference(
    training: Sequence[Case], validation: Sequence[Case], features: Features, cache: PreparedCache
) -> ScopeReference | None:
    """Fit the reference of a package; None, with a warning, where there are too few training cases.

    Parameters
    ----------
    training, validation : sequence of Case
        Readable ones.
    features : mapping
        Pseudonym of a case to its features, for those that the network was run on.
    """
    splits = [
        [*_samples(sampled(cases, SAMPLED_CASES), features, cache, name)]
        for name, cases in (("training", training), ("validation", validation))
    ]
    reference = fit_reference(*splits)
    if reference is None:
        log.warning(
            "Whether a scan is like the training scans will not be checked: it takes %d training patients.", FEWEST
        )
    return reference


def _samples(cases: Sequence[Case], features: Features, cache: PreparedCache, name: str) -> Iterator[Sample]:
    for case in track(cases, f"measure the scope, {name} cases", len(cases)):
        try:
            facts = cache.facts(case)
        except RejectedInput as error:
            log.warning("case %s cannot be measured: %s %s", case.case, error.code, error.message)
            continue
        image = np.asarray(cache.load(case))
        scan = Scan(facts, appearance(image), features.get(case.case))
        yield Sample(case.patient, scan, appearance(negative(image)))
