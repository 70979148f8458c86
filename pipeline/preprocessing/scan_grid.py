"""From the prepared grid back to the scan's own: where a heatmap lies in the patient."""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Geometry
from pipeline.domain.plan import Plan
from pipeline.preprocessing.grid import axes_onto_plan, sample, target_spacing


def onto_scan_grid(heatmap: NDArray[np.float32], geometry: Geometry, plan: Plan) -> NDArray[np.float32]:
    """Undo what :func:`pipeline.preprocessing.transforms.prepare` does to the place of voxels.

    Interpolates linearly (with the same Gaussian where the scan is coarser than the plan), so that values lie between
    those of the heatmap; what :func:`prepare` cropped away holds 0.

    Parameters
    ----------
    heatmap : ndarray of float32, shape (*plan.size)
        3D: axes in RAS+ order; 2D: stored order.
    geometry : Geometry
        Of the scan, in stored order.

    Returns
    -------
    ndarray of float32, shape (i, j, k)
        On the voxels of the scan, in stored order; k = 1 for a single image.
    """
    assert heatmap.shape == plan.size, f"the heatmap is {heatmap.shape}, the plan {plan.size}"
    shape, spacing = _ordered(geometry, plan)
    found = sample(heatmap, [axis.inverse() for axis in axes_onto_plan(shape, spacing, plan)], 0.0)
    if plan.ndim == 2:
        return found[..., np.newaxis]
    orientation = geometry.orientation()
    turned = np.flip(found, tuple(world for world, (_, sign) in enumerate(orientation) if sign < 0))
    return np.ascontiguousarray(turned.transpose(np.argsort([axis for axis, _ in orientation])))


def prepared_spacing(geometry: Geometry, plan: Plan) -> tuple[float, ...]:
    """Distance between the voxels of the prepared image of a scan along each axis, in the unit of its geometry."""
    return target_spacing(*_ordered(geometry, plan), plan)


def _ordered(geometry: Geometry, plan: Plan) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing of a scan in the order of the plan's axes."""
    if plan.ndim == 2:
        assert geometry.shape[2] == 1, f"a plan for single images, a scan of shape {geometry.shape}"
        return geometry.shape[:2], geometry.spacing[:2]
    order = [axis for axis, _ in geometry.orientation()]
    return tuple(geometry.shape[axis] for axis in order), tuple(geometry.spacing[axis] for axis in order)
