"""A whole study, and its table."""

import csv
import io
from collections.abc import Sequence

from pipeline.domain.frozen import Frozen
from pipeline.training.study.costs import Costs
from pipeline.training.study.recommendation import Recommendation, Standing
from pipeline.training.study.record import Record

COLUMNS = (
    *("depth", "twin", "norm", "seed", "parameters", "multiply_adds", "latency_ms", "peak_training_bytes"),
    *("steps", "diverged_at", "final_train_loss", "final_validation_loss", "best_step"),
    *("auroc", "auroc_low", "auroc_high", "standard_error"),
)


class Study(Frozen):
    """What ``study.json`` holds.

    Attributes
    ----------
    manifest : str
        Digest.
    settings : dict
        What all networks share, as resolved: the backbone, the course, the input.
    """

    manifest: str
    settings: dict[str, str]
    records: tuple[Record, ...]
    costs: Costs
    standings: tuple[Standing, ...]
    recommendation: Recommendation


def study_table(study: Study) -> str:
    """CSV, one row a network; what is not defined is empty."""
    rows = io.StringIO(newline="")
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(record, study.costs) for record in study.records)
    return rows.getvalue()


def _row(record: Record, costs: Costs) -> Sequence[str]:
    shape, course, cost, score = record.shape, record.course, costs.of(record.shape), record.auroc
    shown: list[object] = [shape.depth, "residual" if shape.residual else "plain", shape.norm, record.seed]
    shown += [cost.parameters, cost.multiply_adds, f"{cost.milliseconds:.3f}", cost.peak_bytes]
    shown += [len(course.losses), course.diverged_at]
    shown += [course.points[-1].train_loss, course.points[-1].validation_loss] if course.points else [None, None]
    shown += [course.best.step if course.best else None]
    shown += [score.value, score.low, score.high] if score else [None, None, None]
    return ["" if value is None else str(value) for value in (*shown, record.standard_error)]
