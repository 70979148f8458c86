"""Digests by which files and pixels are known again."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from pipeline.domain.series import Discovery, SourceFile
from pipeline.domain.volume import Volume
from pipeline.readers.loading import digests_of


def files_digest(files: Iterable[SourceFile]) -> str:
    """Digest of the files of a series, whatever their order: sha256 over their sorted sha256."""
    return hashlib.sha256("".join(sorted(file.sha256 for file in files)).encode("ascii")).hexdigest()


def digested(found: Discovery, known: Mapping[str, str]) -> Discovery:
    """Fill in the sha256 of every file of a discovery that was made without.

    Parameters
    ----------
    known : mapping of str to str
        Path to sha256, of the files that were read for their voxels; the others are read now. Of what cannot be read it
        stays empty.
    """
    missing = [file for file in found.files if not file.sha256]
    rest = [file for file in missing if str(file.path) not in known]
    taken = {str(file.path): digest for file, digest in zip(rest, digests_of(rest), strict=True)} | dict(known)
    whole = {file.path: replace(file, sha256=taken[str(file.path)]) for file in missing}
    series = tuple(replace(one, files=tuple(whole.get(file.path, file) for file in one.files)) for one in found.series)
    refusals = tuple(replace(one, file=whole.get(one.file.path, one.file)) for one in found.refusals)
    return replace(found, series=series, refusals=refusals)


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
