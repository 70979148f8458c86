"""2.5D: a 2D residual network over the slices of a volume, and attention that weighs them.

For thick slices, and for weights that were trained on pictures: they fit the encoder as they are.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt

from pipeline.backbones.residual_settings import ResidualSettings

if TYPE_CHECKING:
    from pipeline.backbones.slice_network import SliceNetwork

AXES: tuple[Literal[0, 1, 2], ...] = (0, 1, 2)
LAST_AXIS = AXES[-1]
"""Axis k, along which slices lie where no axis is coarser than the others."""


class Config(ResidualSettings):
    """Settings of the slice network; those of depth and width are the encoder's."""

    dimensions: ClassVar[tuple[int, ...]] = (3,)

    kind: Literal["slices"] = "slices"
    axis: Literal["auto", 0, 1, 2] = Field(
        default="auto",
        description="Axis along which the slices lie: 0 sagittal, 1 coronal, 2 axial; auto: that of the coarsest "
        "spacing of the plan, axial where none is coarser.",
    )
    attention: PositiveInt = Field(default=128, description="Hidden units of the attention over slices.")

    def resolved(self, depth: int, size: Sequence[int], spacing: Sequence[float] | None) -> Self:
        """See :meth:`BackboneSettings.resolved`; stem and strides follow from the size of a slice.

        Raises
        ------
        ConfigError
            If the plan is of pictures.
        """
        self.check_dimensions(len(size))
        axis = _coarsest(spacing) if self.axis == "auto" else self.axis
        in_plane = [other for other in range(len(size)) if other != axis]
        of_slice = [size[other] for other in in_plane]
        encoder = super().resolved(depth, of_slice, [spacing[other] for other in in_plane] if spacing else None)
        return encoder.model_copy(update={"axis": axis})

    def build(self, ndim: int, channels: int) -> "SliceNetwork":
        """See :meth:`BackboneSettings.build`; an axis that is still ``auto`` becomes the last."""
        self.check_dimensions(ndim)
        from pipeline.backbones.slice_network import SliceNetwork

        return SliceNetwork(self, channels, LAST_AXIS if self.axis == "auto" else self.axis, self.attention)


def _coarsest(spacing: Sequence[float] | None) -> Literal[0, 1, 2]:
    """Axis of the largest spacing; the last of equals."""
    if spacing is None:
        return LAST_AXIS
    return max(AXES, key=lambda axis: (round(spacing[axis], 3), axis))
