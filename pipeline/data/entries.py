"""Prepared voxels of many cases at hand, with little memory and the least copying.

A training visits the same entries again and again. Each is verified (length, header, magic) and mapped at its first
visit and stays mapped, so that a later visit copies from the system's page cache, which all processes share, without a
call to the system. What cannot stay mapped is read.

Worker processes that a loader forks share the memory of the main one until somebody writes, and Python writes a count
into every object that it looks at: a worker that walks through the cases would end with a copy of its own of them all.
Here it looks at two arrays instead, of names and of paths.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.domain.case import Case
from pipeline.machine import memory_limit
from pipeline.preprocessing.cache import PreparedCache

MOST_MAPPED = 8192
"""Entries that one process keeps mapped: systems allow 65,530 maps, and each takes about a kilobyte."""

WORTH_MAPPING = 2**18
"""Bytes of an entry from which it pays to map it; to read a smaller one takes no longer."""

MAPPED_SHARE = 0.5
"""Part of the memory that all entries together may have to be mapped; more would not stay there, and reading is faster
than to fetch page by page."""


class PreparedEntries:
    """The entries of a sequence of cases.

    Parameters
    ----------
    cases : sequence of Case
    cache : PreparedCache
        Filled.

    Attributes
    ----------
    names : ndarray of str, shape (cases,)
        Pseudonyms.
    """

    def __init__(self, cases: Sequence[Case], cache: PreparedCache) -> None:
        self.names = np.array([case.case for case in cases], dtype=np.str_)
        self._paths = np.array([os.fsencode(cache.path(case)) for case in cases], dtype=np.bytes_)
        self._cases = cases
        self._cache = cache
        self._mapped: dict[int, Tensor] = {}
        self._bytes = cache.dtype.itemsize * int(np.prod(cache.shape))
        self._dtype = {2: torch.float16, 4: torch.float32}[cache.dtype.itemsize]
        fits = self._bytes * len(cases) <= MAPPED_SHARE * memory_limit()
        self._most = MOST_MAPPED if fits and self._bytes >= WORTH_MAPPING else 0

    def get(self, position: int) -> Tensor:
        """Voxels of one case as they are mapped, float32 or float16, shape (c, *size); do not write to them."""
        mapped = self._map(position)
        if mapped is None:
            mapped = torch.empty(self._cache.shape)
            self._read(position, mapped)
        return mapped

    def copy(self, positions: Sequence[int], out: Tensor) -> None:
        """Copy voxels of cases into the rows of `out`, shape (n, c, *size)."""
        for position, row in zip(positions, out, strict=True):
            mapped = self._map(position)
            if mapped is None:
                self._read(position, row)
            else:
                row.copy_(mapped)

    def _map(self, position: int) -> Tensor | None:
        """Map an entry for good; None where there are too many, or where it is missing or damaged."""
        if position in self._mapped or len(self._mapped) >= self._most:
            return self._mapped.get(position)
        path = Path(os.fsdecode(self._paths[position]))
        if not self._cache.looks_sound(path):
            return None
        begin = self._cache.begin
        # a private map: nothing that is written to it would reach the file. Unlike Python's, it keeps no file open
        content = torch.from_file(str(path), shared=False, size=begin + self._bytes, dtype=torch.uint8)
        mapped = self._mapped[position] = content[begin:].view(self._dtype).view(self._cache.shape)
        return mapped

    def _read(self, position: int, row: Tensor) -> None:
        """Read an entry; make it again where it is missing or damaged and the cache knows how."""
        array = row.numpy()
        if not self._cache.read_row(Path(os.fsdecode(self._paths[position])), array):
            self._cache.load_into([self._cases[position]], array[np.newaxis])
