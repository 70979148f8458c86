"""Several series of a study as one volume: resampled to the grid of the first, stacked along c.

Every voxel of the grid is taken through both affines to world coordinates and back into the other series, where it is
interpolated linearly. Nothing is extrapolated: a voxel that lies beyond the outermost voxel centres of a series, or
next to its padding, is not valid in that series' channel.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.series import Series
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

SAME_PLACE = 1e-4
"""Voxels by which two grids may differ and still be one: nothing is resampled, voxels stay bit for bit."""

EDGE = 1e-4
"""Voxels beyond the outermost centres that still count as on them: what rounding in headers adds."""


def read_slots(slots: Sequence[Series | None], options: ReadOptions) -> Volume:
    """Read a case: its one series, or what fills each of its channels (None: empty).

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.reading.read` and :func:`stack`.
    """
    if len(slots) == 1 and slots[0] is not None:
        return read(slots[0], options)
    return stack([None if series is None else read(series, options) for series in slots])


def stack(parts: Sequence[Volume | None]) -> Volume:
    """Stack series as channels on the grid of the first.

    Parameters
    ----------
    parts : sequence of Volume or None
        One for each channel, grey volumes in millimetres of one modality. None: an empty channel of zeros, valid
        nowhere. The first is never None.

    Returns
    -------
    Volume
        ``voxels`` and ``valid`` (c, i, j, k); 0 where not valid, except the padding of the first, which stays.

    Raises
    ------
    RejectedInput
        DOES_NOT_FIT: a series is in colour, a single image, without millimetres, of another modality, or reaches no
        voxel of the first one's grid.
    """
    first = parts[0]
    assert first is not None, "the first channel gives the grid"
    present = [part for part in parts if part is not None]
    check_fit([None if part is None else (part.geometry, part.channels) for part in parts])
    if len({part.modality for part in present}) > 1:
        raise _refuse("the series for its channels are of different modalities")
    grid = first.geometry
    voxels = np.zeros((len(parts), *grid.shape), dtype=np.float32)
    valid = np.zeros(voxels.shape, dtype=np.bool_)
    for number, part in enumerate(parts):
        if part is None:
            continue
        voxels[number], valid[number] = on_grid(part, grid)
        if not valid[number].any():
            raise _refuse(f"channel {number + 1} of {len(parts)} has no valid voxel on the grid of the first")
    notes = [*(note for part in present for note in part.notes), *stacking_notes([part is not None for part in parts])]
    return Volume(voxels, grid, first.modality, valid, tuple(dict.fromkeys(notes)), first.body_part)


def check_fit(parts: Sequence[tuple[Geometry, int] | None]) -> None:
    """Refuse series that cannot be channels of one volume, by their geometry and channels alone.

    Raises
    ------
    RejectedInput
        DOES_NOT_FIT; see :func:`stack`.
    """
    assert parts[0] is not None, "the first channel gives the grid"
    grid, _ = parts[0]
    for number, part in enumerate(parts, start=1):
        if part is not None and (trouble := _unfit(*part, grid)):
            raise _refuse(f"channel {number} of {len(parts)} {trouble}")


def _unfit(geometry: Geometry, channels: int, grid: Geometry) -> str:
    """Say why a series cannot be one channel on a grid; empty: it can."""
    if channels != 1:
        return "is in colour"
    if geometry.shape[2] == 1:
        return "is a single image: only volumes share a grid"
    if geometry.unit is not Unit.MM:
        return "has no spacing in millimetres"
    if not _reached(_between(grid, geometry), grid.shape, geometry.shape).any():
        return "reaches no voxel of the first one's grid"
    return ""


def _between(grid: Geometry, other: Geometry) -> NDArray[np.float64]:
    """Map voxel indices of a grid to those of another, (4, 4)."""
    matrix: NDArray[np.float64] = np.linalg.solve(other.matrix, grid.matrix).astype(np.float64)
    return matrix


def stacking_notes(filled: Sequence[bool]) -> Iterator[str]:
    """Note that a case is a stack, and which of its channels are empty. `filled` has one value a channel."""
    if len(filled) > 1:
        yield f"{len(filled)} channels, each a series, on the grid of the first"
        yield from (
            f"channel {number} of {len(filled)} has no series and is empty"
            for number, is_filled in enumerate(filled, start=1)
            if not is_filled
        )


def on_grid(part: Volume, grid: Geometry) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample one grey series to a grid; return voxels and valid, both (i, j, k) of the grid."""
    image = part.voxels[0]
    to_part = _between(grid, part.geometry)
    if part.geometry.shape == grid.shape and _is_identity(to_part, grid.shape):
        return image, np.ones(grid.shape, dtype=np.bool_) if part.valid is None else part.valid
    valid = _reached(to_part, grid.shape, part.geometry.shape)
    if part.valid is None:
        sampled = _sample(image, to_part, grid.shape)
    else:
        weight = _sample(part.valid.astype(np.float32), to_part, grid.shape)
        valid &= weight >= 1 - EDGE
        sampled = _sample(image * part.valid, to_part, grid.shape)
        sampled /= np.maximum(weight, np.float32(1 - EDGE))
    sampled[~valid] = 0.0
    return sampled, valid


def _is_identity(matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> bool:
    """Whether an index map moves no voxel of the grid by more than :data:`SAME_PLACE`."""
    moved = np.abs(matrix - np.eye(4))[:3]
    return bool((moved[:, :3] @ (np.array(shape) - 1) + moved[:, 3]).max() <= SAME_PLACE)


def _reached(
    matrix: NDArray[np.float64], shape: tuple[int, int, int], source: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Voxels of a grid whose place lies between the voxel centres of a source."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=np.bool_)
    for axis, count in enumerate(source):
        place = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
        inside &= (place >= -EDGE) & (place <= count - 1 + EDGE)
    return inside


def _sample(
    image: NDArray[np.float32], matrix: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        image, matrix[:3, :3], offset=matrix[:3, 3], output_shape=shape, output=np.float32, order=1, mode="nearest"
    )
    return sampled


def _refuse(message: str) -> RejectedInput:
    return RejectedInput(Code.DOES_NOT_FIT, message, stage="stack")
