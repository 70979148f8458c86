"""What the settings of every engine have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.config import Part, parts

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage

FOLDER = "pipeline.engines"


class EngineSettings(Part, ABC):
    """Base of the ``Config`` of an engine."""

    @property
    def title(self) -> str:
        """Kind and, where it is not float32, precision."""
        precision = getattr(self, "precision", "32")
        return self.kind if precision == "32" else f"{self.kind} {precision}"

    def resolve(self, package: "ModelPackage") -> "EngineSettings":
        """Return settings that leave nothing open: what `auto` chose, and which export is meant.

        They are plain JSON (:meth:`model_dump`), are read again by :func:`engine_settings`, and build the same engine
        on another day or refuse to: what a run keeps and goes on with.

        Raises
        ------
        EngineError
            If an export that is asked for is absent, damaged or of another model.
        """
        return self

    @abstractmethod
    def build(self, package: "ModelPackage") -> "Engine":
        """Make the engine ready.

        Raises
        ------
        ConfigError, EngineError
            If it cannot run here.
        """


def engine_settings(fields: Mapping[str, Any]) -> EngineSettings:
    """Read settings of any kind of engine, as :meth:`EngineSettings.resolve` made them and JSON kept them."""
    config = dict(parts(FOLDER))[fields["kind"]]
    found = config.from_mapping(fields, "engine")
    assert isinstance(found, EngineSettings)
    return found
