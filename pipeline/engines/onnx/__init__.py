"""ONNX Runtime on the CPU, in float32."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.engines.settings import EngineSettings

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage


class Config(EngineSettings):
    """Settings of the ONNX Runtime engine."""

    kind: Literal["onnx"] = "onnx"
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves ONNX Runtime's own choice.")
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

    def build(self, package: "ModelPackage") -> "Engine":
        """Open the networks of `package`, or of its export.

        Raises
        ------
        EngineError
            If ONNX Runtime (or, for a conversion, onnx) is not installed, or the export is damaged or of another model.
        """
        from pipeline.engines.onnx.session import OnnxEngine

        return OnnxEngine(package, threads=self.threads, exported=self.exported, sealed=self.sealed)
