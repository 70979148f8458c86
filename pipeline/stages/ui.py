"""``resdx ui``: MLflow's pages on the store that the runs were tracked to."""

import logging
from pathlib import Path

from pydantic import Field

from pipeline.config import Settings
from pipeline.errors import EXIT_FAILED, TrackingError
from pipeline.stages.outcome import Outcome
from pipeline.tracking.server import HOST, serve
from pipeline.tracking.settings import Store, default_store

log = logging.getLogger("resdx")


class Config(Settings):
    """Settings of ``resdx ui``."""

    store: str = Field(
        default=".",
        description="Folder that holds mlflow.db (the parent of the run folders), the file itself, or a database URI.",
    )
    port: int = Field(default=5000, ge=1, le=65535, description="Port on 127.0.0.1.")


def run(config: Config) -> Outcome:
    """Serve until interrupted.

    Raises
    ------
    TrackingError
        If there is no store, or the URI is that of a server which has pages of its own.
    """
    store = locate_store(config.store)
    log.info("MLflow answers at http://%s:%d soon, to this machine alone; Ctrl-C stops it.", HOST, config.port)
    status = serve(store, config.port)
    if status:
        line = f"MLflow stopped with status {status}; is port {config.port} of {HOST} taken? Try --port."
        return Outcome(lines=(line,), exit_code=EXIT_FAILED)
    return Outcome(lines=("MLflow stopped.",))


def locate_store(text: str) -> Store:
    """Find the store that a user means by a folder, a file or a URI; see :func:`run`."""
    if text.startswith(("http://", "https://")):
        raise TrackingError("This store is a server with pages of its own.", "Open its address in a browser.")
    if "://" in text:
        return Store(uri=text)
    folder = Path(text).resolve()
    folder = folder.parent if folder.is_file() else folder
    store = default_store(folder)
    if not (folder / "mlflow.db").is_file():
        raise TrackingError(f"{folder} holds no mlflow.db.", "Give the folder above the run folders: resdx ui runs")
    return store
