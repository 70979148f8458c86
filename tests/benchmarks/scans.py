"""A chest CT of noise and ellipses, as large as a real one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from phantoms.dicom_series import Identity, write_series
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

SYNTAXES: dict[str, UID] = {
    "raw": ExplicitVRLittleEndian,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
    "RLE": RLELossless,
}


def chest(slices: int, *, seed: int = 0) -> NDArray[np.int16]:
    """Stored values (512, 512, slices): a body with two lungs, noise of 20 HU."""
    random = np.random.default_rng(seed)
    i, j = np.meshgrid(np.arange(512), np.arange(512), indexing="ij")
    lungs = np.zeros((512, 512), bool)
    for centre in (170, 342):
        lungs |= ((i - centre) / 60) ** 2 + ((j - 240) / 80) ** 2 < 1
    voxels = np.empty((512, 512, slices), np.int16)
    for k in range(slices):
        body = ((i - 256) / (180 + 20 * np.sin(k / 30))) ** 2 + ((j - 256) / 140) ** 2 < 1
        hu = np.where(body, 40.0 + 20 * np.sin(i / 17 + k / 9), -1000.0) - 860.0 * (lungs & body)
        voxels[:, :, k] = np.clip(hu + random.normal(0, 20, hu.shape), -1024, 3071).round()
    return voxels


def write(folder: Path, voxels: NDArray[np.int16], syntax: UID) -> None:
    """One series, one file a slice."""
    write_series(folder, voxels, transfer_syntax=syntax, identity=Identity.numbered(1))
