"""Slices that form no straight grid, brought onto one by linear interpolation: only where the user asks for it.

Each slice is first shifted within its own plane, then neighbours are mixed along the normal. Both steps reproduce a
field that is linear in space exactly. What lies outside the slices is never made up: it is marked invalid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.errors import RejectedInput

GRID_TOLERANCE = 1e-6
"""A sample nearer than this part of a voxel to a stored one is the stored one."""

FLOAT_BYTES = 4

Plane = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Voxels (c, i, j) and where they are valid (i, j)."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampling:
    """How a straight grid is filled from stored slices.

    Attributes
    ----------
    geometry : Geometry
        The straight grid.
    in_plane : ndarray, shape (stored slices, 2, 3)
        For each stored slice: index (i, j, 1) of the straight grid to the index (i, j) within the stored slice.
    along : ndarray, shape (k,)
        For each slice of the straight grid: its place between the stored slices; 2.25 is a quarter of the way from
        the third to the fourth.
    """

    geometry: Geometry
    in_plane: NDArray[np.float64]
    along: NDArray[np.float64]

    def apply(
        self, voxels: NDArray[np.float32], valid: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Resample voxels (c, i, j, k) and their validity (i, j, k).

        Invalid voxels of the result hold the least valid value. The mask is None where every voxel is valid.

        Raises
        ------
        RejectedInput
            BAD_VALUE: no voxel of the straight grid lies within the slices.
        """
        stored_valid = np.ones(voxels.shape[1:], dtype=bool) if valid is None else valid
        out = np.empty((voxels.shape[0], *self.geometry.shape), dtype=np.float32)
        known = np.empty(self.geometry.shape, dtype=bool)
        held: dict[int, Plane] = {}
        for k, place in enumerate(self.along):
            lower, upper, weight = _neighbours(place, voxels.shape[3])
            held = {index: plane for index, plane in held.items() if index in (lower, upper)}
            for index in (lower, upper):
                if index not in held:
                    held[index] = self._shifted(voxels[..., index], stored_valid[..., index], index)
            (below, below_known), (above, above_known) = held[lower], held[upper]
            out[..., k] = below if lower == upper else below * np.float32(1 - weight) + above * np.float32(weight)
            known[..., k] = below_known & above_known
        if not known.any():
            raise RejectedInput(Code.BAD_VALUE, "nothing of the slices lies on a straight grid")
        if known.all():
            return out, None
        out[:, ~known] = out[:, known].min()
        return out, known

    def _shifted(self, voxels: NDArray[np.float32], valid: NDArray[np.bool_], index: int) -> Plane:
        """One stored slice on the in-plane grid of the result, bilinear."""
        columns, rows, _ = self.geometry.shape
        i, j = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
        at = np.einsum("ab,bij->aij", self.in_plane[index], np.stack([i, j, np.ones_like(i)]).astype(np.float64))
        nearest = np.rint(at)
        at = np.where(np.abs(at - nearest) < GRID_TOLERANCE, nearest, at)
        base = np.floor(at).astype(int)
        part = at - base
        values = np.zeros((voxels.shape[0], columns, rows))
        known = np.ones((columns, rows), dtype=bool)
        for di, dj in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = (part[0] if di else 1 - part[0]) * (part[1] if dj else 1 - part[1])
            u, v = base[0] + di, base[1] + dj
            inside = (u >= 0) & (u < valid.shape[0]) & (v >= 0) & (v < valid.shape[1])
            u, v = np.clip(u, 0, valid.shape[0] - 1), np.clip(v, 0, valid.shape[1] - 1)
            known &= (weight == 0) | (inside & valid[u, v])
            values += weight * voxels[:, u, v]
        return values.astype(np.float32), known


def check_size(shape: tuple[int, int, int], max_bytes: int) -> None:
    """Refuse a straight grid that is larger than a volume may be.

    Raises
    ------
    RejectedInput
        TOO_LARGE.
    """
    size = shape[0] * shape[1] * shape[2] * FLOAT_BYTES
    if size > max_bytes:
        shown = " x ".join(map(str, shape))
        raise RejectedInput(Code.TOO_LARGE, f"the straight grid has {shown} voxels; the limit is {max_bytes} bytes")


def _neighbours(place: float, count: int) -> tuple[int, int, float]:
    """Find the stored slices below and above a place, and the part of the upper one."""
    nearest = round(place)
    if abs(place - nearest) < GRID_TOLERANCE:
        index = min(max(nearest, 0), count - 1)
        return index, index, 0.0
    lower = int(np.floor(place))
    return lower, lower + 1, float(place - lower)
