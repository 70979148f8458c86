"""The learning rate of a run: looked for once, and kept."""

import logging
from collections.abc import Callable
from pathlib import Path

from pipeline.domain.journal import Journal
from pipeline.training.rate_finder.curve import RateCurve, save_curve
from pipeline.training.run_folder import once
from pipeline.training.settings import TrainingSettings

log = logging.getLogger("resdx")

LEARNING_RATE = "learning_rate.json"


def settle_rate(
    settings: TrainingSettings, folder: Path, journal: Journal, find: Callable[[], RateCurve]
) -> tuple[TrainingSettings, tuple[str, ...]]:
    """Put the rate that `find` finds into the settings, if one is wanted; also returns what the card says of it.

    Parameters
    ----------
    folder : Path
        Of the run; keeps the curve as JSON, CSV and picture.
    """
    if not settings.rate_finder.enabled:
        return settings, ()
    curve = once(folder / LEARNING_RATE, RateCurve, find)
    log.info("%s", curve.note)
    journal.params({"found learning rate": curve.chosen})
    for path in (folder / LEARNING_RATE, *save_curve(folder, curve)):
        journal.artifact(path, "experiment")
    return settings.model_copy(update={"learning_rate": curve.chosen}), (curve.note,)
