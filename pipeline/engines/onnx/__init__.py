"""ONNX Runtime on the CPU, in float32."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.engines.settings import ExportedSettings

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage


class Config(ExportedSettings):
    """Settings of the ONNX Runtime engine."""

    kind: Literal["onnx"] = "onnx"
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves ONNX Runtime's own choice.")

    def build(self, package: "ModelPackage") -> "Engine":
        """Open the networks of `package`, or of its export.

        Raises
        ------
        EngineError
            If ONNX Runtime (or, for a conversion, onnx) is not installed, or the export is damaged or of another model.
        """
        from pipeline.engines.onnx.session import OnnxEngine

        return OnnxEngine(package, threads=self.threads, exported=self.exported, sealed=self.sealed)
