"""Measure what the scope gate asks of a scan as it was read: geometry and intensities; see :mod:`pipeline.scope`."""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.scope import LEVELS, ScanFacts
from pipeline.domain.volume import Volume
from pipeline.preprocessing.thinning import thinned

FACTS_VERSION = 1
"""Raise it whenever :func:`measure_facts` would say other things of the same scan; what is kept is measured anew."""

VOXELS = 2**17
"""Voxels of each channel that are looked at."""


def measure_facts(volume: Volume) -> ScanFacts:
    """Measure a scan, in stored order as a reader returns it; some milliseconds, whatever its size."""
    geometry = volume.geometry
    order = (0, 1, 2) if volume.is_2d else tuple(axis for axis, _ in geometry.orientation())
    i, j, k = order
    values = _values(volume)
    mean, std = (float(values.mean()), float(values.std())) if values.size else (0.0, 0.0)
    is_flat = not std > 1e-9 * max(abs(mean), 1e-30)
    low = float(values.min()) if values.size else 0.0
    return ScanFacts(
        modality=volume.modality,
        body_part=volume.body_part,
        unit=geometry.unit,
        shape=(geometry.shape[i], geometry.shape[j], geometry.shape[k]),
        spacing=(geometry.spacing[i], geometry.spacing[j], geometry.spacing[k]),
        extent=(geometry.extent[i], geometry.extent[j], geometry.extent[k]),
        mean=mean,
        std=std,
        skewness=0.0 if is_flat else float((((values - mean) / std) ** 3).mean()),
        percentiles=tuple(np.percentile(values, LEVELS).tolist()) if values.size else (0.0,) * len(LEVELS),
        lowest=float((values <= low).mean()) if values.size else 1.0,
    )


def _values(volume: Volume) -> NDArray[np.float64]:
    """Take some of the valid voxels, flat."""
    valid = volume.valid
    found: list[NDArray[np.float32]] = []
    for number, channel in enumerate(volume.voxels):
        sample = thinned(channel, VOXELS)
        if valid is None:
            found.append(sample.ravel())
        else:
            found.append(sample[thinned(valid[number] if volume.is_stacked else valid, VOXELS)])
    return np.concatenate(found).astype(np.float64)
