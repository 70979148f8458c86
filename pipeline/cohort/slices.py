"""Images that share slices: a copy of an image that lacks some of its slices, which no digest of the whole finds."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from pipeline.domain.volume import Volume

VALUES = 1024
"""Voxels of a slice that are looked at, in rows evenly apart: what is the same in these is the same, at a fraction of
the cost; of a small slice all are."""

LENGTH = 8
"""Bytes of the digest of a slice."""

LEAST_SLICES = 3
LEAST_SHARE = 0.5
"""Slices that two images share at least, and part of the slices of the shorter one."""

MOST_IMAGES = 32
"""Images that share a slice at most: one that more have is a template or the ground of a picture, no anatomy."""


def slice_digests(volume: Volume) -> bytes:
    """Digests of the slices of the first channel, one after the other, each of :data:`LENGTH` bytes.

    Slices of one value or two, as of masks, are left out: those of different patients may be the same. So is a 2D
    image, which its digest of voxels tells.
    """
    if volume.is_2d:
        return b""
    across, down, _ = volume.geometry.shape
    step = max(1, across * down // VALUES)
    some = np.ascontiguousarray(volume.voxels[0, :, step // 2 :: step].T, dtype="<f4")
    low, high = (edge(some, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    varied = ((some != low) & (some != high)).any(axis=(1, 2))
    return b"".join(hashlib.sha256(one.data).digest()[:LENGTH] for one in some[varied])


def sharing(digests: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Find pairs of images, by position, of which one holds most slices of the other.

    Parameters
    ----------
    digests : sequence of bytes
        What :func:`slice_digests` made of each image.
    """
    values = np.frombuffer(b"".join(digests), "<u8")
    owners = np.repeat(np.arange(len(digests)), [len(one) // LENGTH for one in digests])
    order = np.lexsort((owners, values))
    values, owners = values[order], owners[order]
    once = np.append(True, (values[1:] != values[:-1]) | (owners[1:] != owners[:-1]))[: len(values)]
    values, owners = values[once], owners[once]
    sizes = np.bincount(owners, minlength=len(digests))
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
    lengths = np.diff(np.append(starts, len(values)))
    shared: Counter[tuple[int, int]] = Counter()
    for place in np.flatnonzero((lengths > 1) & (lengths <= MOST_IMAGES)):
        holders = owners[starts[place] : starts[place] + lengths[place]]
        shared.update(combinations(holders.tolist(), 2))
    for (i, j), count in sorted(shared.items()):
        if count >= max(LEAST_SLICES, LEAST_SHARE * min(sizes[i], sizes[j])):
            yield i, j
