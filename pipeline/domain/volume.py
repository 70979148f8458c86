"""A scan in memory: voxels and where they lie."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Geometry, Plane
from pipeline.domain.series import PICTURE, PROJECTION
from pipeline.domain.terms import IN_SUV


@dataclass(frozen=True, slots=True)
class Volume:
    """Voxels with their geometry.

    Attributes
    ----------
    voxels : ndarray of float32, shape (c, i, j, k)
        Rescaled values (HU for CT; larger is brighter for projection images). Stored order unless made by
        :meth:`canonical`. The order in memory is any: readers leave the slices one after another.
    geometry : Geometry
        Shape (i, j, k), unit, affine to RAS+.
    modality : str
        DICOM modality (0008,0060), e.g. ``CT``.
    valid : ndarray of bool, shape (i, j, k) or (c, i, j, k), or None
        False where the scanner wrote padding; such voxels enter no statistic. None: all valid. With an axis c the
        channels are series of their own: False also where a series does not reach, and statistics are taken for each
        channel. A channel without any valid voxel is empty: no series fills it.
    notes : tuple of str
        What a reviewer should know about how this volume was read. No patient data.
    body_part : str
        BodyPartExamined (0018,0015), where the header has a defined term of the standard; else empty.
    """

    voxels: NDArray[np.float32]
    geometry: Geometry
    modality: str
    valid: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    body_part: str = ""

    def __post_init__(self) -> None:
        assert self.voxels.ndim == 4, f"voxels must be 4D (c, i, j, k), got shape {self.voxels.shape}"
        assert self.voxels.dtype == np.float32, f"voxels must be float32, got {self.voxels.dtype}"
        assert self.voxels.shape[1:] == self.geometry.shape, (self.voxels.shape, self.geometry.shape)
        assert self.valid is None or self.valid.shape in (self.geometry.shape, self.voxels.shape), self.valid.shape

    @property
    def channels(self) -> int:
        """Number of channels c: 1, 3 for colour, or one a series."""
        return int(self.voxels.shape[0])

    @property
    def is_stacked(self) -> bool:
        """Whether its channels are series of their own, each with its own valid voxels."""
        return self.valid is not None and self.valid.ndim == 4

    @property
    def is_suv(self) -> bool:
        """Whether values are standardized uptake values, instead of the unit of the scanner."""
        return any(note.startswith(IN_SUV) for note in self.notes)

    @property
    def is_2d(self) -> bool:
        """Whether this is a single image (k = 1)."""
        return self.geometry.shape[2] == 1

    @property
    def plane(self) -> Plane:
        """Anatomical plane of the slices; none of an image that cuts through nothing: a projection, a photograph."""
        cuts_nothing = self.is_2d and self.modality in PROJECTION | PICTURE
        return Plane.NONE if cuts_nothing else self.geometry.plane

    def valid_voxels(self) -> NDArray[np.float32]:
        """Voxels that enter statistics, of all channels, flat."""
        if self.valid is None:
            return self.voxels.ravel()
        return self.voxels[self.valid] if self.is_stacked else self.voxels[:, self.valid].ravel()

    def canonical(self) -> Self:
        """Reorder (never resample) to the nearest RAS+ axes: i to right, j to anterior, k to superior.

        Pictures and single 2D images keep their stored order, the one a reader sees on screen.
        """
        if self.is_2d:
            return self
        orientation = self.geometry.orientation()
        axes = tuple(axis for axis, _ in orientation)
        step = np.eye(4)
        step[:3, :3] = 0.0
        voxels = np.transpose(self.voxels, (0, *(axis + 1 for axis in axes)))
        valid = None if self.valid is None else np.transpose(self.valid, _behind(self.valid, axes))
        for world, (axis, sign) in enumerate(orientation):
            step[axis, world] = sign
            if sign < 0:
                step[axis, 3] = self.geometry.shape[axis] - 1
                voxels = np.flip(voxels, world + 1)
                valid = None if valid is None else np.flip(valid, world + valid.ndim - 3)
        i, j, k = (self.geometry.shape[axis] for axis in axes)
        geometry = Geometry.from_matrix((i, j, k), self.geometry.matrix @ step, self.geometry.unit)
        return replace(
            self,
            voxels=np.ascontiguousarray(voxels),
            geometry=geometry,
            valid=None if valid is None else np.ascontiguousarray(valid),
        )


def _behind(valid: NDArray[np.bool_], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Order of the axes of a mask whose spatial ones are reordered; an axis c stays in front."""
    first = valid.ndim - 3
    return (*range(first), *(axis + first for axis in axes))
