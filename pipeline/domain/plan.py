"""What was decided from the fingerprint, each decision with its reason. The plan travels with the weights."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.domain.frozen import Frozen, digest
from pipeline.domain.geometry import Unit
from pipeline.domain.selection import Selection


class Window(Frozen):
    """Clip to [low, high] and map to [-1, 1]: Hounsfield units (CT), or stored values of 8-bit pictures."""

    kind: Literal["window"] = "window"
    low: float
    high: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"window: low {self.low} must lie below high {self.high}")
        return self


class ZScore(Frozen):
    """Clip to the scan's own percentiles, subtract its mean and divide by its standard deviation (MR has no unit)."""

    kind: Literal["zscore"] = "zscore"
    lower_percentile: float = Field(default=0.5, ge=0, lt=50)
    upper_percentile: float = Field(default=99.5, gt=50, le=100)


Intensity = Annotated[Window | ZScore, Field(discriminator="kind")]

VoxelType = Literal["float32", "float16"]


class Decision(Frozen):
    """One decision in words: what was chosen and why, and whether the user overrode it."""

    name: str
    value: str
    reason: str
    overridden: bool = False


class Augmentation(Frozen):
    """Strength of each random change of training images; see :class:`pipeline.data.settings.AugmentationSettings`."""

    flip_axes: tuple[int, ...] = ()
    flip_probability: float = 0.5
    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0
    intensity_scale: float = 0.0
    intensity_shift: float = 0.0
    noise: float = 0.0
    occasional_probability: float = 0.15
    elastic: float = 0.0
    low_resolution: float = 0.0
    blur: float = 0.0
    bias_field: float = 0.0
    gamma: float = 0.0
    cutout: float = 0.0


class Plan(Frozen):
    """How a scan becomes an input of the network.

    Attributes
    ----------
    ndim : int
        2: one image, axes (i, j). 3: a volume, axes (i, j, k) in RAS+ order.
    spacing : tuple of float or None
        Target spacing per axis in ``unit``; None keeps each scan's own (pictures).
    size : tuple of int
        Network input per axis. Scans are centre-cropped or padded to it after resampling; with ``fit`` the whole
        field of view is resized to it instead.
    fit : bool
        See ``size``; used for projection images and pictures whose field of view is the object itself.
    modality : str
        Modality the plan was made for; others are refused.
    suv : bool
        Whether it was made for standardized uptake values; PET in the unit of its scanner is then refused, and the
        other way round.
    select : Selection or None
        The rules by which the series of the training scans were chosen; predictions choose by them too.
    augmentation : Augmentation or None
        Strengths for training where none are given; None in plans of before there were any.
    voxels : str
        What prepared voxels are rounded to, for training and prediction alike, and how the prepared cache holds them.
        float16 has 11 significant bits, and all that ``intensity`` can give lies far within its range.
    """

    fingerprint: str
    modality: str
    unit: Unit
    ndim: Literal[2, 3]
    channels: int = Field(ge=1)
    spacing: tuple[float, ...] | None
    size: tuple[Annotated[int, Field(gt=0)], ...]
    fit: bool = False
    intensity: Intensity
    depth: int
    batch_size: int = Field(gt=0)
    precision: str
    decisions: tuple[Decision, ...] = ()
    suv: bool = False
    select: Selection | None = None
    augmentation: Augmentation | None = None
    voxels: VoxelType = "float32"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.size) != self.ndim:
            raise ValueError(f"size {self.size} does not have {self.ndim} axes")
        if self.spacing is not None and (len(self.spacing) != self.ndim or min(self.spacing) <= 0):
            raise ValueError(f"spacing {self.spacing} must hold {self.ndim} positive numbers")
        return self

    @model_serializer(mode="wrap")
    def _without_usual_voxels(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave float32 out: plans of before there was a choice keep their bytes, and packages their name."""
        content: dict[str, Any] = dump(self)
        return {name: one for name, one in content.items() if name != "voxels" or one != "float32"}

    @property
    def preparation_digest(self) -> str:
        """Digest of what changes prepared voxels: the cache key leaves batch size, depth and reasons out."""
        kept = {"modality", "unit", "ndim", "channels", "spacing", "size", "fit", "intensity", "voxels"}
        return digest(self.model_dump(mode="json", include=kept))
