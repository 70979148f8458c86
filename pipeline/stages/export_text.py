"""The parity report in words."""

import math
from collections.abc import Iterator

from pipeline.engines.parity import LARGEST_AUROC_CHANGE, TOLERANCES, ParityReport, ParityRow
from pipeline.package.package import ModelPackage

HEADS = ("engine", "largest", "95%", "AUROC", "flipped", "scope", "ms a case", "of torch 32", "verdict")


def cells(report: ParityReport) -> Iterator[tuple[str, ...]]:
    """One row of text an engine."""
    for row in report.rows:
        yield (
            row.title,
            "" if row.failure else f"{row.largest:.1e}",
            "" if row.failure else f"{row.most:.1e}",
            "" if row.auroc_change is None else f"{row.auroc_change:.4f}",
            "" if row.failure else str(row.flipped),
            "" if row.scope_moved is None else f"{row.scope_changed}, {math.expm1(row.scope_moved):.0%}",
            "" if row.failure else f"{1000 * row.seconds:.1f}",
            "" if row.failure else f"{row.seconds / report.reference.seconds:.2f}",
            verdict(row),
        )


def verdict(row: ParityRow) -> str:
    """Whether it agrees, or why not."""
    said = row.obstacle or "agrees"
    return f"{said} ({row.note})" if row.note else said


def table(report: ParityReport) -> list[str]:
    """Plain lines, columns aligned."""
    rows = [HEADS, *cells(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return [
        "  ".join(
            text.ljust(width) if column in (0, len(HEADS) - 1) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(report: ParityReport, package: ModelPackage) -> str:
    """Write the page parity.md."""
    rule = "; ".join(
        f"{precision}: {tolerance.largest:g}, of 95% of the cases {tolerance.most:g}"
        for precision, tolerance in TOLERANCES.items()
    )
    rows = "\n".join("| " + " | ".join(row) + " |" for row in (HEADS, ("---",) * len(HEADS), *cells(report)))
    unread = f" {report.unread} could not be read and were not compared." if report.unread else ""
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    files = "\n".join(f"- `{name}` {digest}" for name, digest in report.files.items())
    return f"""# Parity of {package.card.name}

Every engine against PyTorch in float32 on all {report.cases} validation cases, calibrated probabilities of every class
of every finding.{unread} Largest: of the worst case. 95%: of all but the worst twentieth. AUROC: largest change of any
class against the rest. Flipped: decisions that come out otherwise at the frozen operating points. Scope: verdicts that
the network's features would change, and how far their distance from the training cases moves at most. Times are medians
of one case with its mirror images, taken in turns on {report.threads} threads.

{rows}

- The rule, largest difference by precision: {rule}; an AUROC moves by less than {LARGEST_AUROC_CHANGE:g}. The engine
  `auto` takes the fastest that agrees and flips no decision, on this kind of processor and with these libraries alone.
- int8 is calibrated and judged on the same validation cases; how a new site's scans fare is not measured here.
- Model {report.model}
- Manifest {report.manifest}
- Processor: {report.processor.text}
- {versions}; {report.created}

sha256 of the files:

{files}
"""
