"""Where voxels lie in the patient.

Voxel axes are stored order: ``i`` runs along a row (columns), ``j`` down the rows, ``k`` along the slice normal.
World axes are RAS+: x grows to the patient's right, y to anterior, z to superior, in millimetres.
DICOM itself is LPS+ (PS3.3 C.7.6.2.1.1); readers turn it to RAS+.
"""

import math
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.domain.frozen import Frozen

Positive = Annotated[int, Field(gt=0)]
Row = tuple[float, float, float, float]

ORTHOGONAL_TOLERANCE = 1e-3
"""Largest absolute cosine between two voxel axes that still counts as a right angle (about 0.06 degrees)."""


class Unit(StrEnum):
    """Unit of the affine: millimetres in a patient, or pixels of a picture without a scale."""

    MM = "mm"
    PIXEL = "pixel"


class Plane(StrEnum):
    """The anatomical plane nearest to the slices."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    NONE = "none"


class Geometry(Frozen):
    """Shape, unit and affine of a Volume.

    Attributes
    ----------
    shape : tuple of int
        (i, j, k): columns, rows, slices. A 2D image has k = 1.
    unit : Unit
        Unit of world coordinates.
    affine : tuple of tuple of float
        4 x 4, maps the voxel index (i, j, k, 1) of a voxel's centre to RAS+ world coordinates.
    """

    shape: tuple[Positive, Positive, Positive]
    unit: Unit = Unit.MM
    affine: tuple[Row, Row, Row, Row]

    @model_validator(mode="after")
    def _check(self) -> Self:
        matrix = self.matrix
        if not np.isfinite(matrix).all():
            raise ValueError("affine holds a value that is not finite")
        if self.affine[3] != (0.0, 0.0, 0.0, 1.0):
            raise ValueError(f"last row of the affine must be (0, 0, 0, 1), got {self.affine[3]}")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
            raise ValueError("affine is singular: a voxel has no extent along some axis")
        return self

    @classmethod
    def from_matrix(cls, shape: tuple[int, int, int], matrix: NDArray[np.floating], unit: Unit = Unit.MM) -> Self:
        """Build from a (4, 4) array."""
        rows = np.asarray(matrix, dtype=np.float64).tolist()
        return cls(shape=tuple(int(n) for n in shape), unit=unit, affine=tuple(tuple(row) for row in rows))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a (4, 4) float64 array."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k, in :attr:`unit`."""
        columns = self.matrix[:3, :3]
        di, dj, dk = (float(np.linalg.norm(columns[:, axis])) for axis in range(3))
        return di, dj, dk

    @property
    def extent(self) -> tuple[float, float, float]:
        """Field of view along i, j, k (voxel count times spacing), in :attr:`unit`."""
        i, j, k = (n * s for n, s in zip(self.shape, self.spacing, strict=True))
        return i, j, k

    @property
    def plane(self) -> Plane:
        """Anatomical plane of the slices, by the world axis nearest to the slice normal."""
        if self.unit is Unit.PIXEL:
            return Plane.NONE
        normal = np.abs(np.cross(self.matrix[:3, 0], self.matrix[:3, 1]))
        return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[int(np.argmax(normal))]

    @property
    def is_orthogonal(self) -> bool:
        """Whether the three voxel axes are at right angles (no gantry tilt, no shear)."""
        unit = self.matrix[:3, :3] / np.linalg.norm(self.matrix[:3, :3], axis=0)
        off_diagonal = unit.T @ unit - np.eye(3)
        return bool(np.abs(off_diagonal).max() <= ORTHOGONAL_TOLERANCE)

    def orientation(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """For each world axis R, A, S: the voxel axis nearest to it, and its sign (+1 or -1).

        The assignment is the permutation with the largest product of cosines, so each voxel axis is used once.
        """
        cosines = self.matrix[:3, :3] / np.linalg.norm(self.matrix[:3, :3], axis=0)
        orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        best = max(orders, key=lambda order: math.prod(abs(cosines[world, order[world]]) for world in range(3)))
        r, a, s = ((axis, 1 if cosines[world, axis] >= 0 else -1) for world, axis in enumerate(best))
        return r, a, s
