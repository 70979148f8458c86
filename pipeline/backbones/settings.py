"""What the settings of every backbone can do."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pipeline.config import Part

if TYPE_CHECKING:
    from pipeline.backbones.backbone import Backbone


class BackboneSettings(Part):
    """Base of the ``Config`` of every part in this folder. Imports no torch."""

    @abstractmethod
    def resolved(self, depth: int, size: Sequence[int], spacing: Sequence[float] | None) -> Self:
        """Replace every ``auto`` by what follows from the plan, so that the saved settings name one network.

        Parameters
        ----------
        depth : int
            Layers that the plan decided on.
        size : sequence of int
            Input size per axis, in voxels.
        spacing : sequence of float or None
            Of the input, mm per axis; None where pictures have no unit.
        """

    @abstractmethod
    def build(self, ndim: int, channels: int) -> "Backbone":
        """Make the network with random weights.

        Parameters
        ----------
        ndim : int
            2 or 3 spatial axes.
        channels : int
            Input channels.
        """
