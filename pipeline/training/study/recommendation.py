"""Which depth is enough: the smallest within one standard error of the best (Breiman et al. 1984)."""

import math
import statistics
from collections.abc import Sequence

from pipeline.domain.frozen import Frozen
from pipeline.training.study.costs import Costs
from pipeline.training.study.record import Record, Shape


class Standing(Frozen):
    """How the networks of one shape stand on validation.

    Attributes
    ----------
    auroc : float
        Mean of the best AUROC over seeds.
    standard_error : float
        Of that mean over the seeds; of a single seed that of the bootstrap over patients.
    """

    shape: Shape
    auroc: float
    standard_error: float
    seeds: int


class Recommendation(Frozen):
    """What to deploy, and why.

    Attributes
    ----------
    shape : Shape or None
        None where no AUROC is defined.
    reasons : tuple of str
        In words, one sentence or two each.
    """

    shape: Shape | None
    reasons: tuple[str, ...]


def standings(records: Sequence[Record]) -> tuple[Standing, ...]:
    """One entry a shape whose networks all have an AUROC, in the order of the records."""
    by_shape: dict[Shape, list[Record]] = {}
    for record in records:
        by_shape.setdefault(record.shape, []).append(record)
    return tuple(found for shape, group in by_shape.items() if (found := _standing(shape, group)) is not None)


def recommend(records: Sequence[Record], costs: Costs) -> Recommendation:
    """Choose among the residual networks, or the plain ones where no residual one was studied."""
    known = standings(records)
    known = tuple(entry for entry in known if entry.shape.residual) or known
    if not known:
        return Recommendation(shape=None, reasons=("AUROC is not defined on this validation split: no depth is told.",))
    best = max(known, key=lambda entry: entry.auroc)
    bound = best.auroc - best.standard_error
    enough = [entry for entry in known if entry.auroc >= bound]
    chosen = min(enough, key=lambda entry: (entry.shape.depth, -entry.auroc))
    return Recommendation(shape=chosen.shape, reasons=tuple(_reasons(chosen, best, costs)))


def _standing(shape: Shape, group: Sequence[Record]) -> Standing | None:
    values = [record.auroc.value for record in group if record.auroc is not None and record.auroc.value is not None]
    if len(values) < len(group):
        return None
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else group[0].standard_error
    return Standing(shape=shape, auroc=statistics.mean(values), standard_error=spread or 0.0, seeds=len(values))


def _reasons(chosen: Standing, best: Standing, costs: Costs) -> list[str]:
    source = f"over {best.seeds} seeds" if best.seeds > 1 else "by bootstrap over the validation patients"
    told = f"{best.shape.title} has the best validation AUROC, {best.auroc:.4f} (standard error {source}: "
    first = f"{told}{best.standard_error:.4f})."
    if best.standard_error == 0:
        first += " It does not vary here, which is not certainty: a larger validation split would tell more."
    if chosen.shape == best.shape:
        return [
            f"{first} No smaller depth comes within one standard error of it.",
            _cost_of(chosen.shape, costs),
            "Depth is not better by itself: it was chosen because the validation split showed it, on this data and "
            "with these settings. Look at the gap between training and validation loss before going deeper.",
        ]
    cheap, dear = costs.of(chosen.shape), costs.of(best.shape)
    ratio = f"{dear.milliseconds / cheap.milliseconds:.1f} times the latency"
    ratio += f" and {dear.parameters / cheap.parameters:.1f} times the weights"
    return [
        f"{first} {chosen.shape.title} comes within one standard error of it, {chosen.auroc:.4f}, and is the smallest "
        "depth that does.",
        _cost_of(chosen.shape, costs),
        f"{best.shape.title} would cost {ratio} for a difference of {best.auroc - chosen.auroc:.4f} that this split "
        "cannot tell from chance. Depth is not better by itself.",
    ]


def _cost_of(shape: Shape, costs: Costs) -> str:
    cost = costs.of(shape)
    memory = (
        ""
        if cost.peak_bytes is None
        else (f" A training step of {costs.batch_size} cases takes {megabytes(cost.peak_bytes)} of memory.")
    )
    return (
        f"Deployed, {shape.title} takes {cost.milliseconds:.1f} ms a case on this {costs.device} "
        f"({costs.threads} threads), {cost.multiply_adds / 1e9:.3g} G multiply-adds and "
        f"{megabytes(cost.weight_bytes)} of weights.{memory}"
    )


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**20:.1f} MB" if count < 2**30 else f"{count / 2**30:.2f} GB"
