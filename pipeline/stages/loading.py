"""From the name of a model to a model that is ready, for Python."""

import tempfile
from pathlib import Path

from pipeline.engines.settings import EngineSettings
from pipeline.stages.loaded_model import LoadedModel
from pipeline.tracking.locate import resolve
from pipeline.tracking.settings import Store, default_store


def load_model(model: str, engine: EngineSettings | None = None, tracking_uri: str = "") -> LoadedModel:
    """Find a model and load it; what MLflow held is fetched for that alone. See :func:`pipeline.load`."""
    store = Store(uri=tracking_uri) if tracking_uri else default_store(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="resdx-model-") as scratch:
        return LoadedModel(resolve(model, store, Path(scratch)), engine)
