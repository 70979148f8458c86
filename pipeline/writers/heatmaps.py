"""Heatmaps as NIfTI on the scan's own grid, to lie over it in any viewer."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume
from pipeline.writers.nifti import write_image


def write_heatmap(path: Path, heatmap: NDArray[np.float32], geometry: Geometry) -> None:
    """Write a heatmap in one step; equal heatmaps give equal bytes.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``.
    heatmap : ndarray of float32, shape (i, j, k)
        On the voxels of the scan in stored order, from :func:`pipeline.preprocessing.scan_grid.onto_scan_grid`.
    geometry : Geometry
        Of the scan.
    """
    assert path.name.endswith(".nii.gz"), path
    volume = Volume(heatmap[np.newaxis], geometry, modality="")
    atomic.write_with(path, lambda temporary: write_image(temporary, volume))
