"""resdx: from a folder of scans and a label file to a diagnostic model that reviewers trust."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.engines.settings import EngineSettings
    from pipeline.stages.loaded_model import LoadedModel

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(model: "str | Path", *, engine: "EngineSettings | None" = None, tracking_uri: str = "") -> "LoadedModel":
    """Load a model: ``load(MODEL).predict(paths)``.

    Parameters
    ----------
    model : str or Path
        Package folder, training run folder, ``runs:/RUN/model`` or ``models:/NAME@ALIAS``.
    engine : EngineSettings, optional
        What runs the network, a ``Config`` of :mod:`pipeline.engines`; by default torch in float32.
    tracking_uri : str
        MLflow store of the model; empty takes ``mlflow.db`` in this folder.

    Raises
    ------
    PackageError, TrackingError
        The model is damaged, or cannot be found.
    """
    from pipeline.stages.loading import load_model

    return load_model(str(model), engine, tracking_uri)
