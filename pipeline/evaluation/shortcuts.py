"""Could the answer be told without the image: how well vendor, site, spacing and age alone tell each finding.

What they tell, a network may learn instead of the disease (Zech et al. 2018, *PLoS Medicine* 15:e1002683; DeGrave et
al. 2021, *Nature Machine Intelligence* 3:610). A tree is grown on four fifths of the patients and scores the others, in
turn. Pairs of cases are compared within a fold only, where one tree has scored both: across folds, a covariate that
tells nothing would come out below 0.5.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import TELLING, Score, Shortcut
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import BINARY, Needs, pairs, ratio
from pipeline.evaluation.sample import Sample, Weights

COVARIATES = ("vendor", "site", "spacing", "age")
FOLDS = 5
RESAMPLES = 500
FEWEST_IN_LEAF = 5
WORTH = 6.63
"""Chi-square (one degree of freedom, 1%) that a split of the tree needs. Without it, a covariate that is balanced by
design would come out below 0.5: what is more in one fold is less in the four others."""


def probe(manifest: Manifest, seed: int = 0) -> tuple[Shortcut, ...]:
    """AUROC of each covariate alone for each finding, of all cases whose truth is known, whatever their split.

    A covariate that is the same in all of them tells nothing and is left out.
    """
    found = []
    for finding in manifest.findings:
        for question, column in _questions(finding):
            truth = np.array([case.encoded_label(finding)[0 if column is None else column] for case in manifest.cases])
            if finding.kind is not FindingKind.MULTILABEL:
                wanted = finding.classes.index(question)
                truth = np.where(truth == UNKNOWN, UNKNOWN, truth == wanted)
            kept = [case for case, known in zip(manifest.cases, truth != UNKNOWN, strict=True) if known]
            for covariate in COVARIATES:
                features = _features(kept, covariate)
                if features is not None:
                    score = _score(features, truth[truth != UNKNOWN], [case.patient for case in kept], seed)
                    found.append(Shortcut(finding=finding.name, question=question, covariate=covariate, score=score))
    return tuple(found)


def warnings(found: Sequence[Shortcut]) -> Iterator[str]:
    """Name the covariates that tell a finding without the image."""
    for one in found:
        score = one.score
        if score.value is not None and score.low is not None and score.low > TELLING:
            yield (
                f"{one.covariate} alone tells {one.finding} ({one.question}) with an AUROC of {score.value:.2f} "
                f"({score.low:.2f} to {score.high:.2f}): a model may learn it instead of the disease."
            )


def _questions(finding: Finding) -> Iterator[tuple[str, int | None]]:
    """Classes to tell from the others, and the column of their truth where each class has one of its own."""
    if finding.kind is FindingKind.BINARY:
        yield finding.positive or finding.classes[-1], None
    elif finding.kind is FindingKind.MULTILABEL:
        yield from ((name, column) for column, name in enumerate(finding.classes))
    else:
        yield from ((name, None) for name in finding.classes)


def _features(cases: Sequence[Case], covariate: str) -> NDArray[np.float64] | None:
    """Numbers that stand for a covariate, shape (cases, columns), NaN where it is not known; None: it never differs."""
    if covariate == "spacing":
        rows = [case.series[0].spacing if case.series[0].unit is Unit.MM else (math.nan,) * 3 for case in cases]
        table = np.array(rows, dtype=np.float64).reshape(len(cases), 3)
    elif covariate == "age":
        table = np.array([_number(case.covariates.get("age", "")) for case in cases]).reshape(len(cases), 1)
    else:
        values = [case.covariates.get(covariate, "") for case in cases]
        table = np.array([[value == name for name in sorted(set(values))] for value in values], dtype=np.float64)
    is_known = ~np.isnan(table)
    differs = len(np.unique(np.hstack([is_known, np.where(is_known, table, 0.0)]), axis=0)) > 1
    return table if differs else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _score(features: NDArray[np.float64], truth: NDArray[np.int64], patients: Sequence[str], seed: int) -> Score:
    bootstrap = Bootstrap(patients, resamples=RESAMPLES, seed=seed)
    folds, scores = _out_of_fold(features, truth, bootstrap.patients, seed)
    sample = Sample(
        kind=FindingKind.BINARY,
        truth=truth.astype(np.int64),
        probabilities=np.stack([1.0 - scores, scores], axis=1),
        decided=(scores >= 0.5).astype(np.int64),
        patients=bootstrap.patients,
    )

    def within_folds(sample: Sample, weights: Weights) -> NDArray[np.float64]:
        above, all_pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for fold in range(folds.max(initial=-1) + 1):
            parts = pairs(sample.where(folds == fold), weights[:, folds == fold])
            above, all_pairs = above + parts[0], all_pairs + parts[1]
        return ratio(above, all_pairs)

    metric = Figure(
        name="auroc",
        title="AUROC",
        function=within_folds,
        undefined="needs two patients with the finding and two without",
        kinds=BINARY,
        needs=Needs.PROBABILITIES,
        higher_is_better=True,
    )
    return bootstrap.score("auroc", bootstrap.estimate(metric, sample), bootstrap.patients)


def _out_of_fold(
    features: NDArray[np.float64], truth: NDArray[np.int64], patients: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fold of each case, and its score by a tree that has seen no case of its patient; folds of -1 are none."""
    from sklearn.tree import DecisionTreeClassifier

    folds, scores = _dealt(truth, patients, seed), np.zeros(len(truth))
    for fold in range(folds.max(initial=-1) + 1):
        scored = folds == fold
        grown = ~scored
        share = float(np.mean(truth[grown] == 1))
        impurity = 2 * share * (1 - share)  # Gini's; a split takes chi-square / cases of it away
        tree = DecisionTreeClassifier(
            min_samples_leaf=FEWEST_IN_LEAF,
            min_impurity_decrease=WORTH * impurity / int(grown.sum()),
            random_state=seed,
        )
        scores[scored] = tree.fit(features[grown], truth[grown]).predict_proba(features[scored])[:, 1]
    return folds, scores


def _dealt(truth: NDArray[np.int64], patients: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Deal whole patients to folds, so that each has some with the finding and some without; -1 where too few are.

    Patients are ordered by what they have, the finding, both or not, and by chance within; then they are dealt in turn.
    """
    people = patients.max(initial=-1) + 1
    sick, well = (np.bincount(patients[truth == answer], minlength=people) > 0 for answer in (1, 0))
    count = min(FOLDS, int(sick.sum()), int(well.sum()))
    if count < 2:
        return np.full(len(truth), -1)
    order = np.random.default_rng(seed).permutation(people)
    order = order[np.argsort(sick[order].astype(int) - well[order], kind="stable")]
    fold_of = np.empty(people, dtype=np.int64)
    fold_of[order] = np.arange(people) % count
    return fold_of[patients]
