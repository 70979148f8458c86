"""How the prepared grid lies over a scan's, and sampling from one to the other.

The centre of the prepared grid lies on the centre of the scan's field of view. Along an axis with source spacing s, n
source voxels, target spacing t and m target voxels, target index o samples source index
``(o - (m - 1) / 2) * t / s + (n - 1) / 2``: physical centres are aligned, not corners. An axis whose spacing is kept is
copied: its offset is rounded down to a whole voxel, so that unresampled voxels stay bit for bit. Target voxels whose
centre lies outside the field of view are filled. Whatever changes here changes what
:func:`pipeline.preprocessing.transforms.prepare` returns: raise its version.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.plan import Plan
from pipeline.preprocessing.lines import along_each, line_matrix, reach_of

SAME_SPACING = 1e-3
"""Spacings that differ by no more than this fraction are the same; nothing is resampled."""


class Axis(NamedTuple):
    """How one axis is sampled: target index o reads source index ``o * step + offset``; step 1 copies."""

    source: int
    target: int
    step: float
    offset: float

    @property
    def sigma(self) -> float:
        """Anti-aliasing blur in source voxels: half of what the target voxel is wider than the source voxel."""
        return max(0.0, (self.step - 1.0) / 2.0)

    @property
    def inside(self) -> slice:
        """Target indices whose centre lies in the source's field of view, source [-0.5, n - 0.5]."""
        first = math.ceil((-0.5 - self.offset) / self.step - 1e-6)
        last = math.floor((self.source - 0.5 - self.offset) / self.step + 1e-6)
        if self.step == 1.0:
            first, last = math.ceil(-self.offset), math.floor(self.source - 1 - self.offset)
        return slice(max(first, 0), min(last, self.target - 1) + 1)

    def inverse(self) -> Self:
        """From the target back to the source."""
        return self._replace(
            source=self.target, target=self.source, step=1.0 / self.step, offset=-self.offset / self.step
        )


def axes_onto_plan(shape: Sequence[int], spacing: Sequence[float], plan: Plan) -> list[Axis]:
    """How the prepared grid samples a scan, axis for axis.

    Parameters
    ----------
    shape, spacing : sequence
        Of the scan in the order of the plan's axes: RAS+ for 3D, stored order for 2D. As many as the plan has.
    """
    wanted = target_spacing(shape, spacing, plan)
    return [_axis(n, m, s, t) for n, m, s, t in zip(shape, plan.size, spacing, wanted, strict=True)]


def target_spacing(shape: Sequence[int], spacing: Sequence[float], plan: Plan) -> tuple[float, ...]:
    """Spacing of the prepared grid of a scan, per axis of the plan; parameters as of :func:`axes_onto_plan`."""
    if plan.fit:
        widest = max(n * s / m for n, s, m in zip(shape, spacing, plan.size, strict=True))
        return (widest,) * plan.ndim
    return tuple(spacing) if plan.spacing is None else plan.spacing


def _axis(source: int, target: int, own: float, wanted: float) -> Axis:
    step = wanted / own
    if abs(step - 1.0) <= SAME_SPACING:
        return Axis(source, target, 1.0, float(math.floor((source - target) / 2)))
    return Axis(source, target, step, (source - 1) / 2 - (target - 1) / 2 * step)


def overlaps(axes: Sequence[Axis]) -> bool:
    """Whether any target voxel lies in the field of view."""
    return all(axis.inside.start < axis.inside.stop for axis in axes)


def sample(image: NDArray[np.float32], axes: Sequence[Axis], fill: float) -> NDArray[np.float32]:
    """Sample one channel: trilinear, blurred first where the target is coarser; outside the field of view `fill`.

    Returns
    -------
    ndarray of float32, shape (target of each axis)
    """
    inside = [axis.inside for axis in axes]
    out = np.full([axis.target for axis in axes], fill, dtype=np.float32)
    if overlaps(axes):
        moved = [_restrict(axis, part) for axis, part in zip(axes, inside, strict=True)]
        out[tuple(inside)] = _interpolate(image, moved)
    return out


def _restrict(axis: Axis, part: slice) -> Axis:
    """Restrict an axis to a part of its target indices."""
    return axis._replace(target=part.stop - part.start, offset=axis.offset + part.start * axis.step)


def _interpolate(image: NDArray[np.float32], axes: list[Axis]) -> NDArray[np.float32]:
    """Blur where the grid coarsens, then interpolate linearly; only the part of the source that is reached is read."""
    cut, matrices = [], []
    for axis in axes:
        margin = reach_of(axis.sigma) if axis.step != 1.0 else 0
        low = max(0, math.floor(axis.offset) - margin)
        high = min(axis.source, math.ceil(axis.offset + (axis.target - 1) * axis.step) + margin + 1)
        cut.append(slice(low, high))
        places = np.arange(axis.target, dtype=np.float64) * axis.step + (axis.offset - low)
        matrices.append(None if axis.step == 1.0 else line_matrix(places, high - low, axis.sigma))
    return along_each(image[tuple(cut)], matrices)
