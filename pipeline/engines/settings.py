"""What the settings of every engine have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

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
        """Return settings that leave nothing open: what `auto` chose, the device, and which export is meant.

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


class ExportedSettings(EngineSettings):
    """Base of the ``Config`` of an engine that runs the files of ``resdx export``, or converts the package itself."""

    exported: Path | None = Field(
        default=None, description="Folder of `resdx export`; null converts the package when it is loaded."
    )
    sealed: str = Field(
        default="", description="Seal of the export, where one is kept to: another export is then refused."
    )

    def resolve(self, package: "ModelPackage") -> EngineSettings:
        """See :meth:`EngineSettings.resolve`."""
        if self.exported is None or self.sealed:
            return self
        from pipeline.engines.exports import read_files

        report, _ = read_files(self.exported, (), package)
        return self.model_copy(update={"sealed": report.seal, "exported": self.exported.resolve()})

    def moved_with(self, package: "ModelPackage") -> Self:
        """Look beside the package for an export that was found there before both were moved; its seal stays."""
        from pipeline.engines.exports import default_folder

        if self.exported is None or self.exported.exists():
            return self
        return self.model_copy(update={"exported": default_folder(package)})


def engine_settings(fields: Mapping[str, Any]) -> EngineSettings:
    """Read settings of any kind of engine, as :meth:`EngineSettings.resolve` made them and JSON kept them."""
    config = dict(parts(FOLDER))[fields["kind"]]
    found = config.from_mapping(fields, "engine")
    assert isinstance(found, EngineSettings)
    return found
