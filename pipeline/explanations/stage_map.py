"""What a method sees of a network: its maps, and how the explained logit changes with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StageMap:
    """The map behind one stage of a network, for one image.

    Attributes
    ----------
    activations, gradients : ndarray of float32, shape (features, *smaller space)
        The map, and the gradient of the explained logit with respect to it.
    slice_axis : int or None
        Spatial axis along which a 2D network went over slices: each slice is then an image of its own. None: no axis.
    """

    activations: Floats
    gradients: Floats
    slice_axis: int | None

    @property
    def pooled_axes(self) -> tuple[int, ...]:
        """Axes of the arrays over which one image of the network extends."""
        space = range(1, self.activations.ndim)
        return tuple(axis for axis in space if self.slice_axis is None or axis != self.slice_axis + 1)


Method = Callable[[Sequence[StageMap], tuple[int, ...]], Floats]
"""Maps of the stages, first to last, and the size of the image, to a heatmap of that size that is not negative."""
