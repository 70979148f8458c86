"""Tables and words of the benchmark of depth, made of the records of its networks."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.results import table

from pipeline.training.study.costs import Costs
from pipeline.training.study.course import Gradients
from pipeline.training.study.recommendation import megabytes
from pipeline.training.study.record import Record, Shape

FOUR = [Shape(20, True, "batch"), Shape(20, False, "batch"), Shape(110, True, "batch"), Shape(110, False, "batch")]
DEEP, TWIN = FOUR[2], FOUR[3]
GAPS = (100, 200, 300, 400, 500, 600)
EVEN = 10.0
"""A gradient that differs by less from first to last layer, and by less than its square among all, is called even."""


def section(records: Sequence[Record], costs: Costs | None) -> str:
    """The body of the section."""
    found = {(record.shape, record.seed): record for record in records}
    seeds = sorted({record.seed for record in records if record.shape.norm == "batch"})
    parts = [
        "Training loss in eval mode on 1,000 fixed training pictures after the last step:",
        _final_table(found, seeds),
        _verdict(found, seeds),
        "ResNet-110 against the three others, in training loss: when it first leads, and the gap (its loss minus the "
        "other's, negative where it leads).",
        _lead_table(found, seeds),
        "Norm of the gradient of each convolution's weights, seed 0. Step 0 is the first step, at the initial weights; "
        "ratio is the largest norm of all layers over the smallest.",
        _gradient_table([record for record in records if record.seed == 0]),
        "In words, of the networks of 110 layers:",
        "\n".join(f"- {line}" for line in _words([record for record in records if record.seed == 0])),
    ]
    if costs is not None:
        parts += [f"Cost of each network ({costs.device}, {costs.threads} threads):", _cost_table(costs)]
    parts.append("Curves and gradients of every layer: `tests/benchmarks/depth/`.")
    return "\n\n".join(parts)


def _final_table(found: dict[tuple[Shape, int], Record], seeds: Iterable[int]) -> str:
    rows = []
    for seed in seeds:
        losses = [_last(found.get((shape, seed))) for shape in FOUR]
        deep, twin = losses[2], losses[3]
        lower = "not trained" if deep is None or twin is None else "yes" if deep < twin else "no"
        rows.append((str(seed), *(_shown(loss) for loss in losses), lower))
    return table(("seed", *(shape.title for shape in FOUR), "ResNet-110 below Plain-110"), rows)


def _verdict(found: dict[tuple[Shape, int], Record], seeds: Iterable[int]) -> str:
    pairs = [(_last(found.get((DEEP, seed))), _last(found.get((TWIN, seed)))) for seed in seeds]
    both = [(deep, twin) for deep, twin in pairs if deep is not None and twin is not None]
    lower = sum(deep < twin for deep, twin in both)
    return f"ResNet-110 has the lower training loss than Plain-110 in {lower} of {len(both)} seeds."


def _lead_table(found: dict[tuple[Shape, int], Record], seeds: Iterable[int]) -> str:
    rows = []
    for seed in seeds:
        deep = found.get((DEEP, seed))
        for shape in (TWIN, FOUR[1], FOUR[0]):
            other = found.get((shape, seed))
            if deep is None or other is None:
                continue
            ours, theirs = _losses(deep), _losses(other)
            steps = sorted(set(ours) & set(theirs) - {0})
            leads = [step for step in steps if ours[step] < theirs[step]]
            since = next((step for step in steps if all(ours[s] < theirs[s] for s in steps if s >= step)), None)
            gaps = [f"{ours[step] - theirs[step]:+.3g}" if step in ours and step in theirs else "" for step in GAPS]
            rows.append((f"{seed}, {shape.title}", str(leads[0]) if leads else "never", str(since or "never"), *gaps))
    heads = ("seed, against", "first lead at step", "leads for good from", *(f"gap at {step}" for step in GAPS))
    return table(heads, rows)


def _gradient_table(records: Iterable[Record]) -> str:
    rows = []
    for record in sorted(records, key=lambda one: (one.shape.norm, one.shape.depth, not one.shape.residual)):
        for entry in record.course.gradients:
            norms = entry.norms
            middle = norms[len(norms) // 2]
            figures = (f"{value:.3g}" for value in (norms[0], middle, norms[-1], _ratio(entry)))
            rows.append((f"{record.shape.title}, {record.shape.norm} norm", str(entry.step), *figures))
        if record.course.diverged_at is not None:
            told = f"not finite at step {record.course.diverged_at}"
            rows.append((f"{record.shape.title}, {record.shape.norm} norm", told, "", "", "", ""))
    tidy = [(name.replace(", norm none, none norm", ", no norm"), *rest) for name, *rest in rows]
    return table(("network", "step", "first layer", "middle", "last", "ratio"), tidy)


def _words(records: Iterable[Record]) -> list[str]:
    lines = []
    for record in sorted(records, key=lambda one: (one.shape.norm, not one.shape.residual)):
        if record.shape.depth != DEEP.depth or not record.course.gradients:
            continue
        norm = "batch norm" if record.shape.norm == "batch" else "no norm"
        kind = "residual" if record.shape.residual else "plain"
        first, last = record.course.gradients[0], record.course.gradients[-1]
        told = f"{kind}, {norm}: at the initial weights the gradient {_behaviour(first)}"
        if last.step > first.step:
            told += f"; at step {last.step} it {_behaviour(last)}"
        if record.course.diverged_at is not None:
            told += f"; its loss was not finite at step {record.course.diverged_at}"
        lines.append(f"{told}.")
    return lines


def _behaviour(entry: Gradients) -> str:
    """How the gradient changes on its way from the head back to the image."""
    first, last = entry.norms[0], entry.norms[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return "is not finite"
    if last == 0 or first == 0:
        return "has vanished"
    ratio = first / last
    spread = f"largest over smallest of all layers: {_ratio(entry):.2g}"
    if ratio > EVEN:
        return f"explodes on its way back to the image ({ratio:.2g} times larger in the first layer; {spread})"
    if ratio < 1 / EVEN:
        return f"vanishes on its way back to the image ({1 / ratio:.2g} times smaller in the first layer; {spread})"
    within = "is even" if _ratio(entry) < EVEN**2 else "is as large in the first layer as in the last, not in between"
    return f"{within} (first layer over last: {ratio:.2g}; {spread})"


def _cost_table(costs: Costs) -> str:
    rows = [
        (
            cost.shape.title,
            f"{cost.parameters / 1e6:.3f} M",
            f"{cost.multiply_adds / 1e6:.1f} M",
            f"{cost.milliseconds:.2f} ms",
            "–" if cost.peak_bytes is None else megabytes(cost.peak_bytes),
        )
        for cost in costs.networks
    ]
    memory = f"peak memory of a step of {costs.batch_size}"
    return table(("network", "parameters", "multiply-adds", "latency of one case", memory), rows)


def curves_table(records: Iterable[Record]) -> str:
    """CSV of every measured point."""

    def rows(record: Record) -> Iterable[tuple[object, ...]]:
        for point in record.course.points:
            yield point.step, f"{point.train_loss:.6g}", f"{point.validation_loss:.6g}", point.auroc

    return _csv(records, ("step", "train_loss", "validation_loss", "auroc"), rows)


def gradients_table(records: Iterable[Record]) -> str:
    """CSV of the gradient norm of every layer, by step."""

    def rows(record: Record) -> Iterable[tuple[object, ...]]:
        for entry in record.course.gradients:
            for number, (layer, norm) in enumerate(zip(record.course.layers, entry.norms, strict=True), start=1):
                yield entry.step, number, layer, f"{norm:.4g}"

    return _csv(records, ("step", "number", "layer", "norm_of_gradient"), rows)


def _csv(
    records: Iterable[Record], heads: Sequence[str], rows: Callable[[Record], Iterable[tuple[object, ...]]]
) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("depth", "twin", "norm", "seed", *heads))
    for record in records:
        shape = record.shape
        own = (shape.depth, "residual" if shape.residual else "plain", shape.norm, record.seed)
        writer.writerows((*own, *row) for row in rows(record))
    return text.getvalue()


def _losses(record: Record) -> dict[int, float]:
    return {point.step: point.train_loss for point in record.course.points}


def _last(record: Record | None) -> float | None:
    return record.course.points[-1].train_loss if record and record.course.points else None


def _ratio(entry: Gradients) -> float:
    smallest = min(entry.norms)
    return max(entry.norms) / smallest if smallest else math.inf


def _shown(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.4f}" if loss < 1000 else f"{loss:.3g}"
