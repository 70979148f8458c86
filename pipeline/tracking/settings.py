"""Where a run is tracked."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pipeline.config import Settings


class TrackingSettings(Settings):
    """Settings of MLflow tracking. What is measured always stands in the run folder's journal as well."""

    enabled: bool = Field(default=True, description="Replay the journal to MLflow; off keeps it on disk only.")
    uri: str = Field(
        default="",
        description="MLflow tracking URI (http://..., postgresql://..., sqlite:///...); empty keeps mlflow.db and "
        "mlartifacts beside the run folder.",
    )
    experiment: str = Field(default="resdx", min_length=1, description="Experiment that the run stands in.")
    run_name: str = Field(default="", description="Name of the run; empty takes the name of the run folder.")
    registered_model: str = Field(
        default="resdx", description="Registered model that the package becomes a version of; empty registers none."
    )
    alias: str = Field(
        default="candidate",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Alias that moves to the new version; empty sets none. MLflow keeps `latest` and `v1` for itself.",
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

    def store(self, run_folder: Path) -> "Store":
        """Resolve the tracking URI and, for the default store, its artifact root."""
        if self.uri:
            return Store(uri=self.uri, artifact_root="")
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
        parts = urlsplit(self.uri)
        if "@" not in parts.netloc:
            return self.uri
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def default_store(folder: Path) -> Store:
    """SQLite store ``mlflow.db`` with ``mlartifacts`` in a folder."""
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifact_root=(folder / "mlartifacts").as_uri())
