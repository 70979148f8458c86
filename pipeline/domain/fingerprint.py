"""What was measured on the training split. Nothing here is decided; see plan.py."""

from pipeline.domain.case import Split
from pipeline.domain.frozen import Frozen
from pipeline.domain.geometry import Unit


class Spread(Frozen):
    """Distribution of a measured value over cases."""

    minimum: float
    p10: float
    median: float
    p90: float
    maximum: float


class Intensities(Frozen):
    """Valid voxels of one modality, pooled over cases."""

    mean: float
    std: float
    p00_5: float
    median: float
    p99_5: float
    minimum: float
    maximum: float


class Fingerprint(Frozen):
    """Measured facts about one split of one manifest.

    Attributes
    ----------
    shape, spacing, extent : tuple of three Spread
        After :meth:`Volume.canonical`: along R, A, S. Spacing and extent in ``unit``. For 2D images k has shape 1.
    suv : bool
        Whether the values are standardized uptake values, instead of the unit of the scanner.
    labels : dict
        Finding name to class name to number of cases.
    """

    manifest: str
    split: Split = Split.TRAIN
    cases: int
    patients: int
    modality: str
    unit: Unit
    ndim: int
    channels: int
    shape: tuple[Spread, Spread, Spread]
    spacing: tuple[Spread, Spread, Spread]
    extent: tuple[Spread, Spread, Spread]
    intensities: Intensities
    suv: bool = False
    labels: dict[str, dict[str, int]]
