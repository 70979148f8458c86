"""OpenVINO on the CPU: the quickest on most processors, in bfloat16 and int8 where they have it."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.config import AsText
from pipeline.engines.settings import EngineSettings, ExportedSettings

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage


class Config(ExportedSettings):
    """Settings of the OpenVINO engine."""

    kind: Literal["openvino"] = "openvino"
    precision: Annotated[Literal["32", "bf16", "int8"], AsText] = Field(
        default="32",
        description="32 agrees with PyTorch to the sixth digit. bf16 and int8 are faster where the processor has them; "
        "int8 rests on validation cases, so it runs what `resdx export` made: `exported`, or what lies beside the "
        "package.",
    )
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 leaves OpenVINO's own choice.")

    def resolve(self, package: "ModelPackage") -> EngineSettings:
        """Look for the export of an int8 network beside the package; see :meth:`EngineSettings.resolve`."""
        if self.precision != "int8" or self.exported is not None:
            return super().resolve(package)
        from pipeline.engines.exports import PARITY, default_folder
        from pipeline.errors import EngineError

        if not (default_folder(package) / PARITY).is_file():
            raise EngineError(
                f"int8 runs what `resdx export` made, and nothing is beside {package.folder.resolve()}.",
                "Run `resdx export` on the model, or give its folder: engine.exported=...; a model that MLflow holds "
                "needs that in any case.",
            )
        return self.model_copy(update={"exported": default_folder(package)}).resolve(package)

    def build(self, package: "ModelPackage") -> "Engine":
        """Compile the networks of `package`, or of its export.

        Raises
        ------
        EngineError
            If OpenVINO is not installed, the export is damaged or of another model, or the precision does not agree
            with float32 here.
        """
        from pipeline.engines.openvino.compiled import OpenvinoEngine

        if self.precision == "int8" and self.exported is None:
            return self.resolve(package).build(package)
        return OpenvinoEngine(
            package, precision=self.precision, threads=self.threads, exported=self.exported, sealed=self.sealed
        )
