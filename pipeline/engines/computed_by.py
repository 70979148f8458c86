"""What the last digits of an answer depend on: kept with a folder, so that it can say when they may move."""

from pipeline.engines.libraries import computing
from pipeline.engines.parity import Processor
from pipeline.engines.settings import EngineSettings


def computed_by(engine: EngineSettings) -> dict[str, str]:
    """Name what the last digits of an engine's answers depend on here: its library, and the processor or GPU.

    Parameters
    ----------
    engine : EngineSettings
        Resolved.
    """
    here = Processor.here()
    on_gpu = getattr(engine, "device", "cpu") == "cuda"
    where = here.accelerator if on_gpu else here.model_copy(update={"accelerator": ""}).text
    return {**computing(engine.kind), "processor": where}
