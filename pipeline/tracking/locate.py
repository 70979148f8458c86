"""Where a model package lies: a folder, ``runs:/RUN/model`` or ``models:/NAME@ALIAS``."""

from pathlib import Path

import yaml

from pipeline.errors import TrackingError
from pipeline.tracking.settings import Store

SCHEMES = ("runs:/", "models:/")

MARK = "package.json"
"""File that every package has."""


def resolve(model: str, store: Store, cache: Path) -> Path:
    """Find a package, downloading it if MLflow holds it.

    Parameters
    ----------
    model : str
        A package folder, a training's run folder that holds ``package/``, an MLflow model folder, or a URI.
    store : Store
        Where URIs are looked up.
    cache : Path
        Existing folder into which a download is written; the package lies below it as long as it exists.

    Raises
    ------
    TrackingError
        If there is no such model, or it holds no package of resdx.
    """
    if not model.startswith(SCHEMES):
        return _inside(Path(model), model)
    if store.file is not None and not store.file.exists():  # MLflow would make an empty one, and find nothing in it
        message = f"{model} is looked up in {store.file}, which does not exist."
        raise TrackingError(message, "Give tracking_uri=... of the MLflow store, or the package's folder.")
    import mlflow.artifacts  # takes a second, which nobody waits for whose model is a folder

    from pipeline.tracking.client import connect, reporting

    remedy = "Check the name and the tracking URI, or give the package's folder."
    with reporting(store, remedy):
        connect(store)
        found = mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=str(cache), tracking_uri=store.uri)
    return _inside(Path(found), model)


def _inside(folder: Path, asked: str) -> Path:
    """Find the package in a folder: itself, its ``package/``, or the data of an MLflow model."""
    candidates = [folder, folder / "package"]
    if (folder / "MLmodel").is_file():
        flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8")).get("flavors", {})
        candidates.append(folder / flavors.get("python_function", {}).get("data", ""))
    found = next((candidate for candidate in candidates if (candidate / MARK).is_file()), None)
    if found is None:
        reason = "is no folder" if not folder.is_dir() else f"holds no model package ({MARK})"
        raise TrackingError(f"{asked} {reason}.", "Give a package folder, runs:/RUN/model or models:/NAME@ALIAS.")
    return found
