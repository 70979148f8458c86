"""Where a NIfTI's voxels lie. Policy: the sform where its code is set, else the qform, else there is no geometry."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.errors import RejectedInput
from pipeline.readers.bounds import LARGEST_POSITION_MM, LARGEST_SPACING_MM, SMALLEST_MM

Matrix = NDArray[np.float64]

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Spatial code of ``xyzt_units`` to millimetres: metre, millimetre, micrometre."""

UNIT_MASK = 0x07
DISAGREEMENT = 0.1
"""Fraction of the smallest spacing by which qform and sform may place a corner voxel apart without a note."""

SPACING_DISAGREEMENT = 0.01
"""Part by which pixdim may differ from the spacing of the sform without a note."""

XFORM_CODES = range(6)
"""Values of ``qform_code`` and ``sform_code`` (nifti1.h): unknown, scanner, aligned, Talairach, MNI 152, a template."""

QUATERNION_EXCESS = 1e-4
"""How far b2 + c2 + d2 of the quaternion may exceed 1 by rounding."""

SINGULAR = 1e-6
"""Axes that span less than this fraction of a cuboid with their lengths span no volume."""

SMALLEST_VOXEL = 1e-12
"""Cubic millimetres."""


def geometry_of(header: Any, shape: tuple[int, int, int]) -> tuple[Geometry, tuple[str, ...]]:
    """Geometry by a NIfTI header (a nibabel header object), and notes for a reviewer. It may be sheared.

    Raises
    ------
    RejectedInput
        NO_GEOMETRY, BAD_VALUE.
    """
    for name in ("sform_code", "qform_code"):
        if int(header[name]) not in XFORM_CODES:
            raise RejectedInput(Code.BAD_VALUE, f"{name} is {int(header[name])}, which the standard does not define")
    scale, notes = _millimetres(int(header["xyzt_units"]))
    sform = _scaled(_sform(header), scale) if int(header["sform_code"]) > 0 else None
    qform = _scaled(_qform(header), scale) if int(header["qform_code"]) > 0 and sform is None else None
    matrix = qform if sform is None else sform
    if matrix is None:
        raise RejectedInput(Code.NO_GEOMETRY, "neither qform_code nor sform_code is set")
    if not np.isfinite(matrix).all():
        raise RejectedInput(Code.BAD_VALUE, f"the {'qform' if sform is None else 'sform'} holds NaN or infinity")
    if shape[2] == 1 and not matrix[:3, 2].any():
        matrix = _with_normal(matrix)
        notes = (*notes, "a single image without thickness: its slice axis takes 1 mm")
    if _is_singular(matrix[:3, :3]):
        raise RejectedInput(Code.NO_GEOMETRY, "the affine is zero or singular: a voxel has no extent along some axis")
    _check_measure(matrix)
    geometry = Geometry.from_matrix(shape, matrix)
    if sform is not None:
        notes = (*notes, *_other_spacing(header, scale, geometry))
    if sform is not None and int(header["qform_code"]) > 0:
        notes = (*notes, *_disagreement(header, scale, geometry))
    return geometry, notes


def _check_measure(matrix: Matrix) -> None:
    steps = np.linalg.norm(matrix[:3, :3], axis=0)
    if not SMALLEST_MM <= steps.min() <= steps.max() <= LARGEST_SPACING_MM:
        raise RejectedInput(Code.BAD_VALUE, f"voxels are {steps.min():g} to {steps.max():g} mm apart")
    if np.abs(matrix[:3, 3]).max() > LARGEST_POSITION_MM:
        raise RejectedInput(Code.BAD_VALUE, f"the first voxel is more than {LARGEST_POSITION_MM:g} mm away")


def _millimetres(units: int) -> tuple[float, tuple[str, ...]]:
    code = units & UNIT_MASK
    if code == 0:
        return 1.0, ("xyzt_units does not say the unit of length: millimetres, as the standard's default",)
    if code not in MM_PER_UNIT:
        raise RejectedInput(Code.BAD_VALUE, f"xyzt_units has the unknown spatial code {code}")
    scale = MM_PER_UNIT[code]
    return scale, () if code == 2 else (f"lengths were converted to millimetres by a factor of {scale:g}",)


def _scaled(matrix: Matrix, scale: float) -> Matrix:
    return np.diag([scale, scale, scale, 1.0]) @ matrix


def _sform(header: Any) -> Matrix:
    rows = [np.asarray(header[name], dtype=np.float64) for name in ("srow_x", "srow_y", "srow_z")]
    return np.vstack([*rows, [0.0, 0.0, 0.0, 1.0]])


def _qform(header: Any) -> Matrix:
    """Rotation by the quaternion (a, b, c, d), a >= 0, times pixdim; ``pixdim[0] < 0`` flips k (nifti1.h, method 2)."""
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)
    offset = [float(header[f"qoffset_{name}"]) for name in "xyz"]
    if not np.isfinite([b, c, d, *pixdim[:4], *offset]).all():
        raise RejectedInput(Code.BAD_VALUE, "the qform holds NaN or infinity")
    if (pixdim[1:4] < 0).any():
        raise RejectedInput(Code.BAD_VALUE, "pixdim holds a negative spacing")
    square = b * b + c * c + d * d
    if square > 1.0 + QUATERNION_EXCESS:
        raise RejectedInput(Code.BAD_VALUE, f"the quaternion of the qform has the length {square**0.5:g}")
    a = max(0.0, 1.0 - square) ** 0.5
    norm = (a * a + square) ** 0.5
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = pixdim[1:4] * [1.0, 1.0, -1.0 if pixdim[0] < 0 else 1.0]
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * steps
    matrix[:3, 3] = offset
    return matrix


def _is_singular(axes: Matrix) -> bool:
    volume = abs(float(np.linalg.det(axes)))
    return volume < SMALLEST_VOXEL or volume < SINGULAR * float(np.prod(np.linalg.norm(axes, axis=0)))


def _with_normal(matrix: Matrix) -> Matrix:
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    length = float(np.linalg.norm(normal))
    out = matrix.copy()
    out[:3, 2] = normal / length if length else 0.0
    return out


def _other_spacing(header: Any, scale: float, used: Geometry) -> tuple[str, ...]:
    """Compare the spacing of the sform (the one used) with pixdim, which tools that fill in an identity leave alone."""
    stored = np.abs(np.asarray(header["pixdim"], dtype=np.float64)[1:4]) * scale
    count = 2 if used.shape[2] == 1 else 3
    said, here = stored[:count], np.array(used.spacing[:count])
    if not np.isfinite(said).all() or not said.all() or (np.abs(said - here) <= SPACING_DISAGREEMENT * here).all():
        return ()
    shown = " x ".join(f"{value:.4g}" for value in said), " x ".join(f"{value:.4g}" for value in here)
    return (f"pixdim says voxels of {shown[0]} mm, the sform of {shown[1]} mm; the sform is used",)


def _disagreement(header: Any, scale: float, used: Geometry) -> tuple[str, ...]:
    """Compare where qform and sform (the one used) place the corner voxels."""
    try:
        qform = _scaled(_qform(header), scale)
    except RejectedInput as error:
        return (f"the sform is used; the qform is unusable: {error.message}",)
    ends = [(0, size - 1) for size in used.shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)]).T
    apart = float(np.linalg.norm(((qform - used.matrix) @ corners)[:3], axis=0).max())
    if apart <= DISAGREEMENT * min(used.spacing):
        return ()
    return (f"qform and sform place the corner voxels up to {apart:.3g} mm apart; the sform is used",)
