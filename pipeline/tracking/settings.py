"""Where a run is tracked."""

import os
import re
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from pipeline import atomic
from pipeline.config import Settings
from pipeline.credentials import without_credentials
from pipeline.errors import TrackingError
from pipeline.tracking.journal import FOLDER

SETTINGS = "settings.json"

RUN_ID = re.compile(r"[0-9a-f]{32}")
"""What the id of an MLflow run looks like."""


class TrackingSettings(Settings):
    """Settings of MLflow tracking. What is measured always stands in the run folder's journal as well."""

    enabled: bool = Field(default=True, description="Replay the journal to MLflow; off keeps it on disk only.")
    uri: str = Field(
        default="",
        description="MLflow tracking URI (http://..., postgresql+psycopg2://..., sqlite:///...); empty keeps mlflow.db "
        "and mlartifacts beside the run folder, or in the store of its parent. User and password in it are used and "
        "written nowhere: give them again on the command line when a run goes on from its own config.yaml, or set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (PGUSER and PGPASSWORD of a PostgreSQL database).",
    )
    experiment: str = Field(default="resdx", min_length=1, description="Experiment that the run stands in.")
    run_name: str = Field(default="", description="Name of the run; empty takes the name of the run folder.")
    parent: str = Field(
        default="",
        description="Run under which MLflow shows this one: the run folder of another resdx run, or an MLflow run "
        "id. It decides the experiment, and is fixed once the run has begun in MLflow. Empty: none.",
    )
    registered_model: str = Field(
        default="resdx", description="Registered model that the package becomes a version of; empty registers none."
    )
    alias: str = Field(
        default="candidate",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Alias that moves to the new version; empty sets none. MLflow keeps `latest` and `v1` for itself.",
    )
    sample_images: bool = Field(
        default=True,
        description="Send pictures of scans: a sample of augmented training inputs and the hardest validation cases. "
        "They bear no names, but show what the scans show; turn it off where MLflow is open to people who may not "
        "see them.",
    )
    replay_seconds: float = Field(default=20.0, gt=0, description="How often the journal is replayed during training.")
    system_seconds: float = Field(
        default=10.0, ge=0, description="How often CPU, memory and GPU use are recorded; 0 records none."
    )

    @field_validator("alias")
    @classmethod
    def _not_reserved(cls, alias: str) -> str:
        if re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
            raise ValueError(f"alias {alias!r} is reserved by MLflow, expected a word such as candidate")
        return alias

    def shown(self) -> "TrackingSettings":
        """As it may be read by others: the URI without user and password, the parent's folder by its name."""
        parent = self.parent_folder
        changes = {"parent": parent.name} if parent else {}
        return self.model_copy(update=changes | {"uri": Store(uri=self.uri).shown})

    @property
    def parent_folder(self) -> Path | None:
        """Run folder of the parent, where a folder names it."""
        return Path(self.parent) if self.parent and not RUN_ID.fullmatch(self.parent) else None

    def store(self, run_folder: Path) -> "Store":
        """Resolve the tracking URI; the default store is that of the parent, or stands beside the run folder.

        Raises
        ------
        TrackingError
            If the folder of the parent holds no tracked run.
        """
        if self.uri:
            return Store(uri=self.uri, artifact_root="")
        if (parent := self.parent_folder) is not None:
            return load_settings(parent).store(parent)
        return default_store(run_folder.resolve().parent)


class Store(Settings):
    """A resolved MLflow store.

    Attributes
    ----------
    artifact_root : str
        Where a new experiment keeps artifacts; empty leaves it to the server.
    """

    uri: str
    artifact_root: str = ""

    @property
    def shown(self) -> str:
        """The URI without user and password."""
        return without_credentials(self.uri)

    @property
    def file(self) -> Path | None:
        """The database of a store that is a SQLite file."""
        if not self.uri.startswith("sqlite"):
            return None
        from sqlalchemy.engine import make_url  # MLflow's, which takes its time

        path = make_url(self.uri).database or ":memory:"
        return None if path.startswith((":memory:", "file:")) else Path(path)


def default_store(folder: Path) -> Store:
    """SQLite store ``mlflow.db`` with ``mlartifacts`` in a folder."""
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifact_root=(folder / "mlartifacts").as_uri())


def save_settings(run_folder: Path, settings: TrackingSettings) -> None:
    """Keep where a run is tracked beside its journal: without password, the parent by its relative path."""
    shown = settings.shown()
    if (parent := settings.parent_folder) is not None:
        relative = Path(os.path.relpath(parent.resolve(), run_folder.resolve())).as_posix()
        shown = shown.model_copy(update={"parent": relative})
    atomic.write_text(run_folder / FOLDER / SETTINGS, shown.model_dump_json(indent=2) + "\n")


def load_settings(run_folder: Path) -> TrackingSettings:
    """Where a run is tracked.

    Raises
    ------
    TrackingError
        If it was never tracked or the file is damaged.
    """
    path = run_folder / FOLDER / SETTINGS
    try:
        found = TrackingSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrackingError(f"{run_folder} was not tracked: {FOLDER}/{SETTINGS} is missing.", "Name a run.") from error
    except ValidationError as error:
        raise TrackingError(f"{path} is damaged.", "Give the tracking settings on the command line.") from error
    parent = found.parent_folder
    return found if parent is None else found.model_copy(update={"parent": str((run_folder / parent).resolve())})
