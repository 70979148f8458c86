"""One reading of a series, in a worker process: what the manifest says of it. Voxels do not leave the worker."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.cohort.cross_check import Checking, cross_checked, is_drawn
from pipeline.cohort.digests import voxels_digest
from pipeline.cohort.likeness import perceptual_hash, thumbnail
from pipeline.cohort.outliers import Levels, levels_of
from pipeline.cohort.previews import is_shown, preview
from pipeline.cohort.slices import slice_digests
from pipeline.cohort.thumbnails import packed
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.series import Series, SourceFile
from pipeline.readers.loading import load
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

UNCHECKED = Checking()

CHECK_SHARE = 0.8
"""Part of the time of a case after which its cross-check goes no further, so that it is not refused for that."""


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What reading a series has shown.

    Attributes
    ----------
    voxels : str
        sha256 over shape and voxels: the same for copies of an image, whatever their headers say.
    likeness : str
        Perceptual hash of the thumbnail.
    thumbnail : bytes
        See :mod:`pipeline.cohort.thumbnails`.
    slices : bytes
        See :func:`pipeline.cohort.slices.slice_digests`.
    geometry : Geometry or None
        Where the voxels lie; only what stacks series asks for it.
    preview : bytes
        JPEG of the middle slice; empty: none is shown.
    """

    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    plane: Plane
    channels: int
    voxels: str
    notes: tuple[str, ...]
    likeness: str = ""
    thumbnail: bytes = b""
    slices: bytes = b""
    geometry: Geometry | None = None
    preview: bytes = b""
    levels: Levels | None = None
    """Intensities of the first channel; see :data:`pipeline.cohort.outliers.Levels`."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Path of each of its files to the sha256 of the very bytes that were decoded."""


def describe(series: Series, options: ReadOptions, shown: float = 0.0, checking: Checking = UNCHECKED) -> SeriesSummary:
    """Read one series and keep what fits in a line, and of the part `shown` of them (0 to 1) a preview.

    Parameters
    ----------
    checking : Checking
        Which series are read a second time, while :data:`CHECK_SHARE` of the time of a case lasts.

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.reading.read`; CROSS_CHECK.
    """
    digests: dict[str, str] = {}
    deadline = time.monotonic() + CHECK_SHARE * checking.seconds

    def noting(file: SourceFile) -> bytes:
        content = load(file)
        digests[str(file.path)] = file.sha256 or hashlib.sha256(content).hexdigest()
        return content

    volume = read(series, options, noting)
    checks = (cross_checked(series, volume, options, load, deadline),) if is_drawn(series, checking.limit) else ()
    small = thumbnail(volume)
    return SeriesSummary(
        modality=volume.modality,
        shape=volume.geometry.shape,
        spacing=volume.geometry.spacing,
        unit=volume.geometry.unit,
        plane=volume.plane,
        channels=volume.channels,
        voxels=voxels_digest(volume),
        notes=(*volume.notes, *checks),
        likeness=perceptual_hash(small),
        thumbnail=packed(small),
        slices=slice_digests(volume),
        geometry=volume.geometry,
        preview=preview(volume) if is_shown(series, shown) else b"",
        levels=levels_of(volume),
        digests=digests,
    )


def digests_in(summaries: Iterable[SeriesSummary | None]) -> dict[str, str]:
    """Path to sha256 of all files that were read for these summaries."""
    return {path: digest for one in summaries if one is not None for path, digest in one.digests.items()}
