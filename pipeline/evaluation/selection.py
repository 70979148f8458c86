"""Which cases of a manifest a model can be scored on."""

from collections.abc import Sequence

from pipeline.domain.case import Case, Split
from pipeline.domain.finding import Finding
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.errors import ManifestError


def check_findings(wanted: Sequence[Finding], present: Sequence[Finding]) -> None:
    """Refuse a manifest that does not answer the model's questions in the model's classes.

    Raises
    ------
    ManifestError
        Naming every finding that is missing or has another kind or other classes.
    """
    known = {finding.name: finding for finding in present}
    problems = []
    for finding in wanted:
        other = known.get(finding.name)
        if other is None:
            problems.append(f"{finding.name} is missing")
        elif (other.kind, other.classes) != (finding.kind, finding.classes):
            ours, theirs = (f"{f.kind.value} {'/'.join(f.classes)}" for f in (finding, other))
            problems.append(f"{finding.name} is {theirs}, the model says {ours}")
    if problems:
        message = f"The manifest does not fit the model: {'; '.join(problems)}."
        raise ManifestError(message, "Ingest with the same findings, classes and order of classes.")


def check_channels(plan: Plan, manifest: Manifest) -> None:
    """Refuse a manifest whose cases stack other channels than the model's, or the same ones in another order.

    Raises
    ------
    ManifestError
    """
    ours, theirs = (
        [channel.name for channel in select.channels] if select else [] for select in (plan.select, manifest.select)
    )
    if ours and theirs and ours != theirs:
        raise ManifestError(
            f"The manifest's cases have the channels {', '.join(theirs)}; the model was trained on {', '.join(ours)}.",
            "Ingest with the select.channels of the training, in its order and with its names.",
        )


def cases_to_score(manifest: Manifest, split: str, findings: Sequence[Finding]) -> tuple[Case, ...]:
    """Cases of a split; at least one must have a label.

    Raises
    ------
    ManifestError
        If there is none.
    """
    cases = manifest.cases if split == "all" else manifest.of(Split(split))
    where = "The manifest" if split == "all" else f"The {split} split of the manifest"
    if not cases:
        raise ManifestError(f"{where} has no case.", "Choose another split: train, validation, test or all.")
    if not any(finding.name in case.labels for case in cases for finding in findings):
        raise ManifestError(f"{where} has no case with a known label.", "Ingest with labels.")
    return cases
