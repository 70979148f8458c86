"""Digests by which files and pixels are known again."""

import hashlib
from collections.abc import Iterable

import numpy as np

from pipeline.domain.series import SourceFile
from pipeline.domain.volume import Volume


def files_digest(files: Iterable[SourceFile]) -> str:
    """Digest of the files of a series, whatever their order: sha256 over their sorted sha256."""
    return hashlib.sha256("".join(sorted(file.sha256 for file in files)).encode("ascii")).hexdigest()


def voxels_digest(volume: Volume) -> str:
    """Digest of decoded voxels, whatever the file says around them: sha256 over their shape and float32 values.

    The values are taken slice by slice, (c, k, j, i), as readers leave them in memory; the order in memory changes
    nothing.
    """
    found = hashlib.sha256(" ".join(map(str, volume.voxels.shape)).encode("ascii"))
    for channel in volume.voxels:
        for k in range(channel.shape[2]):
            found.update(np.ascontiguousarray(channel[:, :, k].T, dtype="<f4").data)
    return found.hexdigest()
