"""What the settings of every backbone can do."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pipeline.config import Part
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.backbones.backbone import Backbone


class BackboneSettings(Part):
    """Base of the ``Config`` of every part in this folder. Imports no torch.

    Attributes
    ----------
    dimensions : tuple of int
        Spatial axes of what the network can look at.
    """

    dimensions: ClassVar[tuple[int, ...]] = (2, 3)

    def check_dimensions(self, ndim: int) -> None:
        """Refuse images with a number of axes that this backbone is not made for.

        Raises
        ------
        ConfigError
        """
        if ndim not in self.dimensions:
            wanted = " or ".join(f"{axes}D" for axes in self.dimensions)
            raise ConfigError("backbone", [f"kind: {self.kind} is for {wanted} images, the plan has {ndim} axes"])

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
