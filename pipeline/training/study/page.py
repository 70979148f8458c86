"""study.html: one page without scripts or outside references."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pipeline.evaluation.html import embed
from pipeline.training.study.recommendation import megabytes
from pipeline.training.study.results import Study

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def render(study: Study, pictures: Sequence[Path]) -> str:
    """Render the page; pictures are embedded."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["megabytes"] = lambda count: "–" if count is None else megabytes(count)
    environment.filters["loss"] = _loss
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    method = next((record.auroc.method for record in study.records if record.auroc is not None), "")
    shapes = list(dict.fromkeys(record.shape for record in study.records))
    return template.render(
        study=study,
        shapes=shapes,
        pictures=[embed(path) for path in pictures],
        method=method,
        chosen=study.recommendation.shape,
    )


def _loss(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:.1e}"
