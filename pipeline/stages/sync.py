"""``resdx sync``: replays what MLflow missed while it was away, or a whole run to another store."""

from pathlib import Path

from pydantic import Field

from pipeline.config import Settings
from pipeline.stages.outcome import Outcome
from pipeline.tracking.journal import read_journal
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import load_settings


class Config(Settings):
    """Settings of ``resdx sync``."""

    run: Path = Field(description="Run folder whose journal is replayed.")
    uri: str = Field(
        default="",
        description="Tracking URI; empty takes the run's own. User and password are not kept with the run: give a URI "
        "that needs them here, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )


def run(config: Config) -> Outcome:
    """Bring MLflow up to date; repeated, it changes nothing.

    Raises
    ------
    TrackingError
        If the folder holds no journal, or MLflow cannot be reached.
    """
    count = len(read_journal(config.run))
    settings = load_settings(config.run)
    if config.uri:
        settings = settings.model_copy(update={"uri": config.uri})
    run_id = replay(config.run, settings)
    shown = settings.store(config.run).shown
    return Outcome(lines=(f"MLflow at {shown} holds all {count} records as run {run_id}.",))
