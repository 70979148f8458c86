"""Images that are nearly the same: found by their hashes, confirmed by their thumbnails.

The limits were measured. In 3D: copies of 260 MR crops of the hippocampus (noise of 0.3 standard deviations, 8 bit,
another gamma, a border cut off, for all but a few another grid) differ in at most 7% of the bits and correlate by 0.96
or more; the nearest two patients differ in 15% and correlate by at most 0.81. Binary masks of 1,584 adrenal glands come
within 10% in 1,884 pairs, none of which correlates by 0.93. In 2D: no two of 1,000 chest radiographs nor of 1,000 of
hands come within 13%; of 780 breast ultrasounds and 1,600 fundus pictures 129 and 19 pairs are found, copies or frames
of one scan as far as they were looked at, while smooth fundi of different patients come near 10% and 0.984.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cohort.likeness import FREQUENCIES, HEX_DIGITS
from pipeline.progress import track

MOST_BITS = 0.10
"""Part of the bits in which the hashes of copies may differ."""

LEAST_CORRELATION = {2: 0.985, 3: 0.93}
"""Of the thumbnails of copies (Pearson), by dimension: a slice has less in it by which patients differ."""

BLOCK = 128
"""Images compared with all others at a time."""

Thumbnails = Callable[[str], NDArray[np.uint8]]
"""From the pseudonym of a series to its thumbnail."""


@dataclass(frozen=True, slots=True)
class Image:
    """One series of a case, as far as it is compared.

    Attributes
    ----------
    series : str
        Pseudonym.
    likeness : str
        Its perceptual hash.
    apart : tuple of str
        Patient, split and pixels: two images are compared where all three differ.
    """

    series: str
    likeness: str
    apart: tuple[str, str, str]


def near_copies(images: Sequence[Image], thumbnails: Thumbnails) -> Iterator[tuple[int, int]]:
    """Find pairs of images, by position, that are nearly the same and stand in two splits under two patients.

    Takes memory for the hashes and for a few hundred thumbnails, however many images there are.
    """
    for ndim in FREQUENCIES:
        places = [place for place, image in enumerate(images) if len(image.likeness) == HEX_DIGITS[ndim]]
        alike = [images[place] for place in places]
        blocks = -(-len(alike) // BLOCK)
        found = _candidates(alike, ndim)
        for pairs in track(found, f"compared {ndim}D images, {BLOCK} at a time", blocks) if blocks > 1 else found:
            yield from ((places[i], places[j]) for i, j in _confirmed(pairs, alike, thumbnails, ndim))


def _candidates(images: Sequence[Image], ndim: int) -> Iterator[NDArray[np.int64]]:
    """Pairs of images whose hashes are near, shape (n, 2), of each block of images with all later ones."""
    length = HEX_DIGITS[ndim] // 2
    packed = np.zeros((len(images), -(-length // 8) * 8), np.uint8)
    for row, image in zip(packed, images, strict=True):
        row[:length] = np.frombuffer(bytes.fromhex(image.likeness), np.uint8)
    words = np.ascontiguousarray(packed.view(np.uint64).T)
    apart = [np.unique(names, return_inverse=True)[1] for names in zip(*(one.apart for one in images), strict=True)]
    most = int(MOST_BITS * (FREQUENCIES[ndim] ** ndim - 1))
    for start in range(0, len(images), BLOCK):
        mine = slice(start, start + BLOCK)
        bits = np.zeros((words[0, mine].size, len(images) - start), np.uint16)
        for word in words:
            bits += np.bitwise_count(word[mine, None] ^ word[start:])
        near = bits <= most
        for code in apart:
            near &= code[mine, None] != code[start:]
        pairs = np.argwhere(near) + start
        yield pairs[pairs[:, 0] < pairs[:, 1]]


def _confirmed(
    pairs: NDArray[np.int64], images: Sequence[Image], thumbnails: Thumbnails, ndim: int
) -> Iterator[tuple[int, int]]:
    """Pairs whose thumbnails correlate."""
    if not len(pairs):
        return
    rows, columns = np.unique(pairs[:, 0]), np.unique(pairs[:, 1])
    left = _standardised([images[i].series for i in rows], thumbnails)
    for start in range(0, len(columns), BLOCK):
        some = columns[start : start + BLOCK]
        right = _standardised([images[j].series for j in some], thumbnails)
        here = pairs[np.isin(pairs[:, 1], some)]
        found = (left @ right.T)[np.searchsorted(rows, here[:, 0]), np.searchsorted(some, here[:, 1])]
        yield from ((int(i), int(j)) for i, j in here[found >= LEAST_CORRELATION[ndim]])


def _standardised(series: Sequence[str], thumbnails: Thumbnails) -> NDArray[np.float32]:
    """Thumbnails as rows of mean 0 and length 1, so that products are correlations."""
    rows = np.stack([thumbnails(one).ravel() for one in series]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("nv,nv->n", rows, rows))[:, None]
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
