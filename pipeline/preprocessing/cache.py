"""Prepared cases on disk: one file a case, memory-mapped, float32 or float16 as the plan says, never pickled.

An entry is a plain ``.npy`` file (format 1.0) of shape (c, *size), followed by a trailer: 8 bytes of magic and the
sha256 of all bytes before it. ``numpy.load(mmap_mode="r")`` reads it; the trailer lies behind the data. Every entry
of a plan has the same shape, so that header, offset and file length are known before a file is opened.

The name of an entry is a digest over what its voxels depend on: reader, stack, channel, files and decoded voxels of
each series (these know whether they were read in another unit, or mended), the plan's preparation, and the versions of
this format, of :func:`prepare`, numpy and scipy. A changed scan, plan or version is a miss, never a stale hit. Writers
write to a temporary file and rename; as content follows from the name, any number of them may write one entry at once.

Beside an entry stands what was measured on its scan as it was read (:mod:`pipeline.preprocessing.scan_facts`), so
that no scan is read once more for it.
"""

import functools
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.atomic import write_bytes, write_text
from pipeline.domain.case import Case
from pipeline.domain.codes import Code
from pipeline.domain.frozen import digest
from pipeline.domain.plan import Plan
from pipeline.domain.rejection import Rejection
from pipeline.domain.scope import ScanFacts
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput, TrainingError
from pipeline.preprocessing.scan_facts import FACTS_VERSION, measure_facts
from pipeline.preprocessing.transforms import PREPARATION_VERSION, prepare
from pipeline.progress import track
from pipeline.workers import SECONDS_PER_CASE, imap

FORMAT_VERSION = 1
MAGIC = b"RESDXSUM"
TRAILER = len(MAGIC) + hashlib.sha256().digest_size

Read = Callable[[Case], Volume]


class PreparedCache:
    """The prepared cases of one plan.

    Parameters
    ----------
    folder : Path
        May be shared by several plans, runs and processes.
    plan : Plan
    read : callable, optional
        Reads a case (a :class:`~pipeline.cohort.case_reader.CaseReader`). With it, :meth:`load` rebuilds an entry that
        is missing or damaged; without it, that is an error. Must be picklable for use in worker processes.
    """

    def __init__(self, folder: Path, plan: Plan, read: Read | None = None) -> None:
        self.plan = plan
        self._preparation = plan.preparation_digest
        self.folder = folder / self._preparation[:16]
        self.shape = (plan.channels, *plan.size)
        self._read = read
        self.dtype = np.dtype(plan.voxels).newbyteorder("<")
        self._header = _header(self.shape, self.dtype)
        self._data_bytes = self.dtype.itemsize * math.prod(self.shape)
        self._file_bytes = len(self._header) + self._data_bytes + TRAILER
        self._versions = f"{FORMAT_VERSION}.{PREPARATION_VERSION}.{np.__version__}.{scipy.__version__}"
        self._paths: dict[tuple[tuple[str, str, str, int, int, int], ...], Path] = {}

    @property
    def begin(self) -> int:
        """Byte of every entry at which its voxels begin."""
        return len(self._header)

    def path(self, case: Case) -> Path:
        """Where the entry of a case lies. The name holds no identifier."""
        source = tuple((one.digest, one.voxels, one.reader, one.stack, one.channel, one.of) for one in case.series)
        if source not in self._paths:
            key = digest([*source, self._preparation, self._versions])
            self._paths[source] = self.folder / key[:2] / f"{key}.npy"
        return self._paths[source]

    def fill(
        self,
        cases: Sequence[Case],
        read: Read | None = None,
        *,
        processes: int = 0,
        timeout_seconds: float = SECONDS_PER_CASE,
        memory_bytes: int | None = None,
    ) -> tuple[Rejection, ...]:
        """Verify every entry by its sha256 and make those that are missing or damaged.

        Parameters
        ----------
        cases : sequence of Case
        read : callable, optional
            Reads a case; defaults to the one given at construction.
        processes : int
            Worker processes; 0 works in this one.
        timeout_seconds, memory_bytes
            Limits of one case; see :func:`pipeline.workers.imap`.

        Returns
        -------
        tuple of Rejection
            One for each case that could not be read or prepared; ``path`` and ``series`` hold pseudonyms. The others
            are ready.
        """
        reader = read or self._read
        assert reader is not None, "fill needs a way to read cases"
        missing = [case for case in track(cases, "verify prepared cases", len(cases)) if not self.is_intact(case)]
        outcomes = imap(
            functools.partial(self._make, read=reader),
            missing,
            processes=processes,
            timeout_seconds=timeout_seconds,
            memory_bytes=memory_bytes,
        )
        done = track(outcomes, "prepare cases", len(missing))
        return tuple(_rejection(missing[one.index], one.error) for one in done if one.error is not None)

    def load(self, case: Case) -> NDArray[np.float32]:
        """Return one prepared case, shape (c, *size): a read-only memory map where the cache holds float32.

        Raises
        ------
        TrainingError
            The entry is missing or damaged (its length or header is wrong) and there is no way to read the case.
        """
        path = self._ready(case)
        held = np.memmap(path, dtype=self.dtype, mode="r", offset=len(self._header), shape=self.shape)
        return held.astype(np.float32, copy=False)

    def facts(self, case: Case) -> ScanFacts:
        """Return what was measured on the scan of a case; where an older cache lacks it, the case is read once more.

        Raises
        ------
        TrainingError
            It is missing and there is no way to read the case.
        RejectedInput
            The case cannot be read any more.
        """
        path = self._facts_path(case)
        try:
            return ScanFacts.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            if self._read is None:
                raise _not_prepared(case) from None
        found = measure_facts(self._read(case))
        write_text(path, found.model_dump_json() + "\n")
        return found

    def _facts_path(self, case: Case) -> Path:
        return self.path(case).with_suffix(f".facts{FACTS_VERSION}.json")

    def load_into(self, cases: Iterable[Case], out: NDArray[np.float32]) -> None:
        """Copy prepared cases into the rows of `out`, shape (n, c, *size), one read a case, without a temporary."""
        for case, row in zip(cases, out, strict=True):
            if not self.read_row(self.path(case), row):
                self._ready(case, known_damaged=True)
                assert self.read_row(self.path(case), row), "an entry just made cannot be read"

    def is_intact(self, case: Case) -> bool:
        """Whether the entry exists and its bytes have the sha256 that stands in its trailer."""
        try:
            content = self.path(case).read_bytes()
        except OSError:
            return False
        body, trailer = content[:-TRAILER], content[-TRAILER:]
        return self._is_sound(len(content), body, trailer) and trailer == _trailer(body)

    def _is_sound(self, length: int, head: bytes, trailer: bytes) -> bool:
        return length == self._file_bytes and head.startswith(self._header) and trailer.startswith(MAGIC)

    def _ready(self, case: Case, *, known_damaged: bool = False) -> Path:
        """Path of an entry whose length, header and magic are right; rebuilt where it can be."""
        path = self.path(case)
        if not known_damaged and self.looks_sound(path):
            return path
        if self._read is None:
            raise _not_prepared(case)
        self._make(case, read=self._read)
        return path

    def looks_sound(self, path: Path) -> bool:
        """Whether the length, the header and the magic of an entry are right; its voxels are not looked at."""
        try:
            with path.open("rb", buffering=0) as file:
                head = file.read(len(self._header))
                file.seek(-TRAILER, os.SEEK_END)
                trailer = file.read(TRAILER)
                return self._is_sound(file.tell(), head, trailer)
        except OSError:
            return False

    def read_row(self, path: Path, row: NDArray[np.float32]) -> bool:
        """Read one entry into `row`, shape (c, *size); False where it is missing, short or has another header."""
        assert row.flags.c_contiguous and row.dtype == np.float32 and row.shape == self.shape
        held = row if self.dtype == row.dtype else np.empty(self.shape, self.dtype)
        head, trailer = bytearray(len(self._header)), bytearray(TRAILER + 1)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        try:
            count = os.readv(descriptor, [head, held.data.cast("B"), trailer])
        finally:
            os.close(descriptor)
        if held is not row:
            row[...] = held
        return self._is_sound(count, bytes(head), bytes(trailer))

    def _make(self, case: Case, *, read: Read) -> None:
        volume = read(case)
        body = self._header + prepare(volume, self.plan).astype(self.dtype, copy=False).tobytes()
        write_text(self._facts_path(case), measure_facts(volume).model_dump_json() + "\n")
        write_bytes(self.path(case), body + _trailer(body))


def _not_prepared(case: Case) -> TrainingError:
    return TrainingError(
        f"The prepared voxels of case {case.case} are missing or damaged.",
        "Run `resdx prepare` again: it verifies every entry and makes those that are not right.",
    )


def _header(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    """Write the .npy header (format 1.0) of a little-endian array in C order."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _trailer(body: bytes) -> bytes:
    return MAGIC + hashlib.sha256(body).digest()


def _rejection(case: Case, error: RejectedInput) -> Rejection:
    return Rejection(
        path=case.case,
        sha256=case.digest,
        series=case.series[0].series,
        code=Code(error.code),
        stage=error.stage,
        message=error.message,
        remedy=error.remedy,
    )
