"""One reading of a series, in a worker process: what the manifest says of it. Voxels do not leave the worker."""

from dataclasses import dataclass

from pipeline.cohort.digests import voxels_digest
from pipeline.cohort.previews import is_shown, preview
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.series import Series
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What reading a series has shown.

    Attributes
    ----------
    voxels : str
        sha256 over shape and voxels: the same for copies of an image, whatever their headers say.
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
    geometry: Geometry | None = None
    preview: bytes = b""


def describe(series: Series, options: ReadOptions, shown: float = 0.0) -> SeriesSummary:
    """Read one series and keep what fits in a line, and of the part `shown` of them (0 to 1) a preview.

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.reading.read`.
    """
    volume = read(series, options)
    return SeriesSummary(
        modality=volume.modality,
        shape=volume.geometry.shape,
        spacing=volume.geometry.spacing,
        unit=volume.geometry.unit,
        plane=volume.geometry.plane,
        channels=volume.channels,
        voxels=voxels_digest(volume),
        notes=volume.notes,
        geometry=volume.geometry,
        preview=preview(volume) if is_shown(series, shown) else b"",
    )
