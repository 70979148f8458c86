"""ResNet of 10 to 1,001 layers and beyond, and its plain twin (He et al. 2016)."""

from typing import TYPE_CHECKING, Literal

from pipeline.backbones.residual_settings import ResidualSettings

if TYPE_CHECKING:
    from pipeline.backbones.residual import ResidualNetwork


class Config(ResidualSettings):
    """Settings of the residual network."""

    kind: Literal["resnet"] = "resnet"

    def build(self, ndim: int, channels: int) -> "ResidualNetwork":
        """See :meth:`BackboneSettings.build`; what is still ``auto`` is decided by :meth:`definite`."""
        from pipeline.backbones.residual import ResidualNetwork

        return ResidualNetwork(self, ndim, channels)
