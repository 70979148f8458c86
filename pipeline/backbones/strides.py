"""Which axes a network halves at each downsampling: the fine ones first."""

from collections.abc import Sequence

Stride = tuple[int, ...]
"""Of each spatial axis, 1 or 2."""

TWICE = 2 * (1 - 1e-6)
"""An axis whose voxels are this many times as long as the finest waits; the margin forgives rounded spacings."""


def choose_strides(size: Sequence[int], spacing: Sequence[float] | None, steps: int) -> tuple[Stride, ...]:
    """Stride of every downsampling of a network, in order.

    An axis is halved unless its voxels are already twice as long as those of the finest axis, so that the maps become
    isotropic before they become small (Isensee et al. 2021, nnU-Net); an axis of one voxel is left alone. Voxels of
    1 x 1 x 5 mm go by 2 x 2 x 5 and 4 x 4 x 5 to 8 x 8 x 10 mm.

    Parameters
    ----------
    size : sequence of int
        Input size per axis, in voxels.
    spacing : sequence of float or None
        In mm per axis; None where there is no unit (pictures): equal along all axes.
    steps : int
        Number of downsamplings.
    """
    length = list(spacing) if spacing is not None else [1.0] * len(size)
    voxels = list(size)
    chosen: list[Stride] = []
    for _ in range(steps):
        open_axes = [axis for axis, count in enumerate(voxels) if count > 1]
        finest = min((length[axis] for axis in open_axes), default=0.0)
        stride = tuple(2 if axis in open_axes and length[axis] < TWICE * finest else 1 for axis in range(len(voxels)))
        voxels = [-(-count // step) for count, step in zip(voxels, stride, strict=True)]
        length = [value * step for value, step in zip(length, stride, strict=True)]
        chosen.append(stride)
    return tuple(chosen)
