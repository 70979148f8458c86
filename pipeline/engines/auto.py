"""The fastest engine that was measured to agree with PyTorch in float32 on this kind of processor."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.engines.settings import EngineSettings

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage


class Config(EngineSettings):
    """Settings of the choice."""

    kind: Literal["auto"] = "auto"
    exported: Path | None = Field(
        default=None,
        description="Folder of `resdx export`, whose parity report is gone by; null looks beside the package, in its "
        "name with .exported. Without a report of this model and this kind of processor PyTorch runs in float32.",
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of whatever is chosen; 0 leaves its own choice.")

    def resolve(self, package: "ModelPackage") -> EngineSettings:
        """Choose, and say why in the log; see :meth:`EngineSettings.resolve`.

        Raises
        ------
        EngineError
            If the export was edited or, where `exported` names it, is of another model.
        """
        from pipeline.engines.choosing import choose

        return choose(package, self.exported, self.threads).resolve(package)

    def build(self, package: "ModelPackage") -> "Engine":
        """Make what :meth:`resolve` chooses."""
        return self.resolve(package).build(package)
