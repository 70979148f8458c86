"""The evaluation of one model on one set of cases: every number with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import parts
from pipeline.domain.case import UNKNOWN, Case, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.score import Calibration, FindingReport, OperatingPoint, Report, Score
from pipeline.evaluation.calibration import reliability
from pipeline.evaluation.headline import macro
from pipeline.evaluation.intervals import Bootstrap, Estimate, combine
from pipeline.evaluation.metrics.metric import Metric, Needs
from pipeline.evaluation.operating_points import npv_at, ppv_at
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.samples import Answers, answers_of
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.evaluation.subgroups import subgroups

FEWEST = 10
"""Fewer positive or fewer negative cases than this are too few: the report warns."""

MACRO = ("auroc", "average_precision")
"""Metrics of two classes that are also averaged over the classes of a finding that has more."""


def evaluate(
    findings: Sequence[Finding],
    cases: Sequence[Case],
    logits: NDArray[np.floating],
    calibration: Sequence[Calibration],
    operating_points: Sequence[OperatingPoint],
    settings: EvaluationSettings,
    *,
    model: str,
    manifest: str,
    split: Split | Literal["all"],
    trained_on: str = "",
    engine: str = "",
    acknowledged_leaks: int = 0,
    rejected: int = 0,
    opened_for: int = 0,
    learned: bool = False,
) -> Report:
    """Score a model.

    Parameters
    ----------
    cases : sequence of Case
        Cases whose label of a finding is not known do not count for that finding.
    logits : ndarray, shape (cases, outputs)
        Laid out by :func:`pipeline.domain.encoding.output_slices`.
    model, manifest, trained_on : str
        Digests of the model, of the manifest evaluated on, and of the one it was trained on. Where the last is given
        and differs, the set is external.
    rejected : int
        Cases of the split that could not be read or prepared; they are not among `cases`.
    opened_for : int
        For how many models the test split was looked at, this one included.
    learned : bool
        The model learned from cases of this split, whatever it is called, as members of folds do.
    """
    bootstrap = make_bootstrap(cases, settings)
    answers = answers_of(findings, cases, logits, calibration, operating_points, bootstrap.patients)
    external = bool(trained_on) and trained_on != manifest
    return Report(
        model=model,
        manifest=manifest,
        trained_on=trained_on,
        split=split,
        external=external,
        engine=engine,
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        rejected=rejected,
        acknowledged_leaks=acknowledged_leaks,
        opened_for=opened_for,
        resamples=settings.resamples,
        seed=settings.seed,
        findings=tuple(_finding_report(entry, cases, bootstrap, settings) for entry in answers),
        calibration=tuple(calibration),
        warnings=(
            *_warnings(split, external, learned, acknowledged_leaks, rejected, len(cases)),
            *_warnings_of_openings(opened_for),
        ),
    )


def make_bootstrap(cases: Sequence[Case], settings: EvaluationSettings) -> Bootstrap:
    """Draw the resamples of an evaluation."""
    patients = [case.patient for case in cases]
    return Bootstrap(patients, resamples=settings.resamples, seed=settings.seed, level=settings.level)


def metrics_for(kind: FindingKind) -> tuple[Metric, ...]:
    """Every metric of the folder that serves samples of this kind: those of probabilities first, then by name."""
    configs = [config.from_mapping({}) for _, config in parts("pipeline.evaluation.metrics")]
    built: list[Metric] = [config.build() for config in configs]  # type: ignore[attr-defined]
    served = [metric for metric in built if kind in metric.kinds]
    return tuple(sorted(served, key=lambda metric: (metric.needs is Needs.DECISIONS, metric.name)))


def _finding_report(
    answers: Answers, cases: Sequence[Case], bootstrap: Bootstrap, settings: EvaluationSettings
) -> FindingReport:
    finding, whole = answers.finding, answers.whole()
    scores: list[Score] = []
    per_class: dict[str, tuple[Score, ...]] = {}
    if whole is not None:
        scores += _scores(whole, bootstrap, settings.prevalence if finding.kind is FindingKind.BINARY else None)
    if finding.kind is not FindingKind.BINARY:
        samples = answers.binary_samples()
        per_class = {name: _scores(sample, bootstrap, None) for name, sample in samples.items()}
        scores = [*_macro_scores(answers, bootstrap), *scores]
    return FindingReport(
        finding=finding.name,
        scores=tuple(scores),
        per_class=per_class,
        confusion=() if whole is None else _confusion(whole),
        classes=finding.classes,
        counts=_counts(answers),
        unknown=int((~answers.known).sum()),
        operating_point=answers.point,
        prevalence=settings.prevalence if finding.kind is FindingKind.BINARY else None,
        reliability=reliability(finding, answers.probabilities, answers.truth, settings.bins),
        subgroups=subgroups(answers, cases, settings.subgroups, bootstrap),
        warnings=_finding_warnings(answers),
    )


def _scores(sample: Sample, bootstrap: Bootstrap, prevalence: float | None) -> tuple[Score, ...]:
    estimates = {metric.name: bootstrap.estimate(metric, sample) for metric in metrics_for(sample.kind)}
    scores = [bootstrap.score(name, estimate, sample.patients) for name, estimate in estimates.items()]
    if prevalence is not None:
        for name, estimate in _at_prevalence(estimates, prevalence, bootstrap).items():
            scores.append(bootstrap.score(name, estimate, sample.patients, f"at a stated prevalence of {prevalence:g}"))
    return tuple(scores)


def _at_prevalence(estimates: dict[str, Estimate], prevalence: float, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """PPV and NPV by Bayes from sensitivity and specificity, resample by resample."""
    rates = [estimates["sensitivity"], estimates["specificity"]]
    ppv = combine(rates, partial(ppv_at, prevalence), "no case would be decided positive")
    npv = combine(rates, partial(npv_at, prevalence), "no case would be decided negative")
    if all(rate.exact is None for rate in rates):
        return {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}
    # a rate of 0 or 1 does not vary between resamples: its exact bounds carry the uncertainty on
    bounds = [bootstrap.bounds(rate) for rate in rates]
    return {
        "ppv_at_prevalence": _from_bounds(ppv, partial(ppv_at, prevalence), bounds),
        "npv_at_prevalence": _from_bounds(npv, partial(npv_at, prevalence), bounds),
    }


def _from_bounds(
    estimate: Estimate,
    function: Callable[..., NDArray[np.float64]],
    bounds: Sequence[tuple[float, float] | None],
) -> Estimate:
    """Give the interval of a function that rises with both rates, from their lower and from their upper bounds."""
    known = [pair for pair in bounds if pair is not None]
    if len(known) < len(bounds):
        return estimate
    low, high = (float(function(*(np.array([pair[end]]) for pair in known))[0]) for end in (0, 1))
    if np.isnan(low) or np.isnan(high):
        return estimate
    method = "from the bounds of sensitivity and specificity, one of them exact"
    return replace(estimate, exact=(low, high), exact_method=method)


def _macro_scores(answers: Answers, bootstrap: Bootstrap) -> list[Score]:
    samples = answers.binary_samples().values()
    patients = answers.patients[answers.known]
    chosen = [metric for metric in metrics_for(FindingKind.BINARY) if metric.name in MACRO]
    return [
        bootstrap.score(f"macro_{metric.name}", macro([bootstrap.estimate(metric, s) for s in samples]), patients)
        for metric in chosen
    ]


def _confusion(sample: Sample) -> tuple[tuple[int, ...], ...]:
    cells = np.zeros((sample.classes, sample.classes), dtype=int)
    np.add.at(cells, (sample.truth, sample.decided), 1)
    return tuple(tuple(row) for row in cells.tolist())


def _counts(answers: Answers) -> dict[str, int]:
    names = answers.finding.classes
    if answers.finding.kind is FindingKind.MULTILABEL:
        return {name: int((answers.truth[:, index] == 1).sum()) for index, name in enumerate(names)}
    return {name: int((answers.truth[:, 0] == index).sum()) for index, name in enumerate(names)}


def _finding_warnings(answers: Answers) -> tuple[str, ...]:
    finding = answers.finding
    found = []
    for name, sample in answers.binary_samples().items():
        ups, downs = int(sample.positive.sum()), int((~sample.positive).sum())
        for count, which in ((ups, "with"), (downs, "without")):
            if count < FEWEST:
                plural = "case" if count == 1 else "cases"
                found.append(
                    f"{finding.name}: only {count} {plural} {which} {name!r} (fewer than {FEWEST}); scores that rest "
                    "on them say little."
                )
    unknown = int((answers.truth == UNKNOWN).any(axis=1).sum())
    if unknown:
        found.append(f"{finding.name}: the truth of {unknown} cases is not known; they are left out.")
    if finding.kind is FindingKind.BINARY and answers.point is None:
        found.append(f"{finding.name}: the model has no operating point; decisions are made at 0.5.")
    return tuple(found)


def _warnings(
    split: Split | Literal["all"], external: bool, learned: bool, leaks: int, rejected: int, cases: int
) -> tuple[str, ...]:
    found = []
    if leaks:
        found.append(
            f"{leaks} patients or images stand in two splits (acknowledged in the configuration): scores may be too "
            "high."
        )
    if external:
        found.append(
            "External set: the model does not carry a list of its training patients, so that none of them is "
            "among these cases was not checked."
        )
    elif learned or split in (Split.TRAIN, "all"):
        found.append("The model was trained on these cases or some of them: the scores say nothing about new patients.")
    elif split is Split.VALIDATION:
        found.append(
            "The operating point, the temperature and the checkpoint were chosen on these cases: scores are too high."
        )
    if rejected:
        found.append(f"{rejected} of {rejected + cases} cases could not be read and are not in the scores.")
    return tuple(found)


def _warnings_of_openings(models: int) -> tuple[str, ...]:
    if models < 2:
        return ()
    return (
        f"The test split has been opened for {models} models: the best score of several owes something to chance, "
        "unless the model was chosen before.",
    )
