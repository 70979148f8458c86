"""The reader of NIfTI files."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.nifti.gzipped import inflate, is_gzip
from pipeline.readers.nifti.header import NiftiHeader, looks_like_nifti, parse
from pipeline.readers.nifti.shear import NOTE, straightened
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled, Load
from pipeline.readers.single_file import Inspected, assemble, constant_note, modality_of

OPAQUE = 255

LONG = frozenset({"i4", "u4", "i8", "u8", "f8"})
"""Types of numbers that hold whole numbers which float32 does not."""

EVERY_WHOLE_NUMBER = 2**24
"""Up to here float32 holds every whole number."""

ROUNDED = f"whole numbers beyond {EVERY_WHOLE_NUMBER}, of which float32 keeps seven digits"


class NiftiReader:
    """NIfTI-1 and -2, one volume a file, voxels in the order in which they are stored."""

    suffixes: tuple[str, ...] = (".nii", ".nii.gz")

    def claims(self, head: bytes) -> bool:
        """By content: a gzipped file is looked into, whatever its name."""
        return looks_like_nifti(head)

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> Inspected:
        """Check the header against the file; see :class:`pipeline.readers.reader.Reader`."""
        stored = parse(content, options.max_bytes, file.size).geometry
        resampling = straightened(stored, options)
        return Inspected(file, stored if resampling is None else resampling.geometry)

    def assemble(self, headers: Sequence[Inspected], options: ReadOptions) -> Assembled:
        """Make one series a file."""
        return assemble("nifti", headers, options)

    def read(self, series: Series, load: Load, options: ReadOptions) -> Volume:
        """Decode a file; see :class:`pipeline.readers.reader.Reader`."""
        (file,) = series.files
        try:
            modality = modality_of(series, options)
            if options.suv and modality == "PT":
                raise RejectedInput(Code.NO_SUV, "SUV was asked for: a NIfTI file says neither dose nor weight")
            content = load(file)
            header = parse(content, options.max_bytes)
            data = inflate(content, header.size) if is_gzip(content) else content
            voxels, notes = _voxels(data, header)
            resampling = straightened(header.geometry, options)
            notes = (*header.notes, *notes, *constant_note(voxels))
            if resampling is None:
                return Volume(voxels, header.geometry, modality, notes=notes)
            voxels, valid = resampling.apply(voxels, None)
        except RejectedInput as error:
            error.path = str(file.path)
            raise
        return Volume(voxels, resampling.geometry, modality, valid, (NOTE, *notes))


def _voxels(data: bytes | bytearray, header: NiftiHeader) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    count = int(np.prod(header.geometry.shape)) * header.stored
    flat = np.frombuffer(data, header.dtype, count, header.start)
    stored = flat.reshape((header.stored, *header.geometry.shape), order="F")
    notes: tuple[str, ...] = ()
    if header.stored == 4:
        notes = ("the alpha channel was dropped",) if (stored[3] != OPAQUE).any() else ()
        stored = stored[:3]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        voxels = _scaled(stored, header.slope, header.intercept)
    bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
    if bad:
        raise RejectedInput(Code.NOT_FINITE, f"{bad} of {voxels.size} voxels are NaN or infinite")
    is_scaled = (header.slope, header.intercept) != (1.0, 0.0)
    return voxels, notes if is_scaled else (*notes, *_rounding_notes(stored, voxels))


def _rounding_notes(stored: NDArray[np.generic], voxels: NDArray[np.float32]) -> tuple[str, ...]:
    """Note where whole numbers are too large for float32, which rounds them; fractions are rounded anyway.

    Raises
    ------
    RejectedInput
        NOT_SUPPORTED where the file stores whole numbers, which it means.
    """
    if stored.dtype.str[1:] not in LONG or max(voxels.max(), -voxels.min()) < EVERY_WHOLE_NUMBER:
        return ()
    is_exact = is_whole = True
    for k in range(stored.shape[3]):
        long = stored[..., k].astype(np.longdouble)  # holds every int64
        is_exact = is_exact and bool((long == voxels[..., k]).all())
        is_whole = is_whole and bool((long == np.rint(long)).all())
    if is_exact or not is_whole:
        return ()
    if stored.dtype.kind in "iu":
        raise RejectedInput(Code.NOT_SUPPORTED, f"its voxels are {ROUNDED}: write them as floating point, or smaller")
    return (f"voxels are {ROUNDED}",)


def _scaled(stored: NDArray[np.generic], slope: float, intercept: float) -> NDArray[np.float32]:
    """Values as float32, computed in float64, one slice at a time."""
    voxels = np.empty(stored.shape, dtype=np.float32, order="F")
    if (slope, intercept) == (1.0, 0.0):
        voxels[...] = stored
        return voxels
    for k in range(stored.shape[3]):
        voxels[..., k] = stored[..., k].astype(np.float64) * slope + intercept
    return voxels
