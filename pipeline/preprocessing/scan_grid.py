"""From the prepared grid back to the scan's own: where a heatmap lies in the patient."""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Geometry
from pipeline.domain.plan import Plan
from pipeline.preprocessing.grid import axes_onto_plan, sample


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
    if plan.ndim == 2:
        assert geometry.shape[2] == 1, f"a plan for single images, a scan of shape {geometry.shape}"
        axes = axes_onto_plan(geometry.shape[:2], geometry.spacing[:2], plan)
        return sample(heatmap, [axis.inverse() for axis in axes], 0.0)[..., np.newaxis]
    orientation = geometry.orientation()
    order = [axis for axis, _ in orientation]
    shape, spacing = ([values[axis] for axis in order] for values in (geometry.shape, geometry.spacing))
    found = sample(heatmap, [axis.inverse() for axis in axes_onto_plan(shape, spacing, plan)], 0.0)
    turned = np.flip(found, [world for world, (_, sign) in enumerate(orientation) if sign < 0])
    return np.ascontiguousarray(turned.transpose(np.argsort(order)))
