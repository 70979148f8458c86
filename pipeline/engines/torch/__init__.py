"""PyTorch, eager: the reference that every other engine is compared with."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.config import AsText
from pipeline.engines.settings import EngineSettings

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.package.package import ModelPackage


class Config(EngineSettings):
    """Settings of the PyTorch engine."""

    kind: Literal["torch"] = "torch"
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to run; auto takes CUDA where there is one."
    )
    precision: Annotated[Literal["32", "bf16"], AsText] = Field(
        default="32",
        description="32 is the reference; bf16 is faster on some machines, its logits differ in the third digit; "
        "kernels that are wrong are found when it is built.",
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads; 0 leaves PyTorch's own choice. Equal threads give equal bits."
    )

    def resolve(self, package: "ModelPackage") -> "Config":
        """Take the device that there is; see :meth:`EngineSettings.resolve`: CPU and GPU give other last digits."""
        if self.device != "auto":
            return self
        import torch

        return self.model_copy(update={"device": "cuda" if torch.cuda.is_available() else "cpu"})

    def build(self, package: "ModelPackage") -> "Engine":
        """Load the weights of `package` on the device.

        Raises
        ------
        ConfigError
            If CUDA is asked for and there is none.
        EngineError
            If bf16 gives wrong answers on this machine.
        """
        from pipeline.engines.torch.eager import TorchEngine

        return TorchEngine(package, device=self.device, precision=self.precision, threads=self.threads)
