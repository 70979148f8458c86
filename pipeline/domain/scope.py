"""The scope of a model: what is measured on one scan, and what is kept of the training scans to compare it with."""

import base64
import math
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.domain.frozen import Frozen
from pipeline.domain.geometry import Unit

Share = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[float, float, float]

LEVELS = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
"""Percentiles of the valid voxels that the intensity fingerprint of a scan holds."""


class ScanFacts(Frozen):
    """What is measured on one scan as it was read, before anything is resampled or normalised.

    Attributes
    ----------
    body_part : str
        BodyPartExamined (0018,0015) where it is a defined term of the standard, else empty.
    spacing, extent : tuple of float
        In `unit`; volumes along R, A, S, single images along i, j, k.
    percentiles : tuple of float
        Of the valid voxels, at :data:`LEVELS`.
    skewness : float
        Third standardized moment of the valid voxels; 0 where all are equal.
    lowest : float
        Share of the valid voxels that have the smallest value.
    """

    modality: str
    body_part: str = ""
    unit: Unit
    shape: tuple[int, int, int]
    spacing: Triple
    extent: Triple
    mean: float
    std: float = Field(ge=0)
    skewness: float
    percentiles: tuple[float, ...] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    lowest: Share


class Numbers(Frozen):
    """An array on disk: little-endian float32 in C order, in base 64; exact, and a quarter of the decimal text."""

    shape: tuple[int, ...]
    float32: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        array = self._decoded()
        if array.size != math.prod(self.shape) or not np.isfinite(array).all():
            raise ValueError(f"must hold {math.prod(self.shape)} finite numbers, got {array.size}")
        return self

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Keep an array, rounded to float32."""
        content = np.ascontiguousarray(values, dtype="<f4")
        return cls(shape=content.shape, float32=base64.b64encode(content.tobytes()).decode("ascii"))

    @property
    def array(self) -> NDArray[np.float64]:
        """The numbers, in double precision."""
        return self._decoded().astype(np.float64).reshape(self.shape)

    def _decoded(self) -> NDArray[np.float32]:
        return np.frombuffer(base64.b64decode(self.float32, validate=True), dtype="<f4")


class Range(Frozen):
    """Smallest and largest value of one fact among the training scans."""

    name: str
    unit: str = ""
    low: float
    high: float


class Space(Frozen):
    """Distribution of one kind of vector over the training scans: where they lie, how they spread, and some of them.

    Vectors are centred and scaled by column; `basis` holds the leading directions, `variances` what the training
    vectors vary along them, and `rest` the mean variance along each of the other directions.

    Attributes
    ----------
    mean, scale : Numbers, shape (d,)
    basis : Numbers, shape (k, d)
    variances : Numbers, shape (k,)
    rest : float
        0 where `basis` spans all directions.
    neighbours : Numbers, shape (m, k)
        Training vectors along `basis`, each direction in units of its standard deviation.
    """

    mean: Numbers
    scale: Numbers
    basis: Numbers
    variances: Numbers
    rest: float = Field(ge=0)
    neighbours: Numbers


class Turn(Frozen):
    """One way in which axes may be mistaken: axis a of the turned image is axis ``order[a]``, reversed if in `flipped`.

    Attributes
    ----------
    told : float
        Share of held-out scans, turned in this way, whose own orientation fits the training scans better.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...]
    told: Share


class Orientation(Frozen):
    """A linear score of coarse images: higher, the more an image lies as the training images do.

    Attributes
    ----------
    weights : Numbers, shape (maps, cells)
    turns : tuple of Turn
        All but the identity.
    """

    weights: Numbers
    turns: tuple[Turn, ...]


class Inversion(Frozen):
    """Logistic regression that tells training images from their negatives; `weights` fit scaled vectors."""

    mean: Numbers
    scale: Numbers
    weights: Numbers
    bias: float


class Detector(StrEnum):
    """What is held against a limit. A larger score is less like the training scans."""

    GEOMETRY = "geometry"
    INTENSITY = "intensity"
    TEXTURE = "texture"
    LAYOUT = "layout"
    FEATURES = "features"
    ORIENTATION = "orientation"
    INVERSION = "inversion"


class Limit(Frozen):
    """Above this score a scan is out of scope.

    Attributes
    ----------
    held_out : int
        Scans that it rests on: none of them was seen by what scored them.
    """

    detector: Detector
    value: float
    held_out: int


class ScopeReference(Frozen):
    """What a model package keeps of its training scans, so that a scan unlike them gets no silent probability.

    Attributes
    ----------
    body_parts : tuple of str
        Those that the training scans name; empty where too few name one.
    ranges : tuple of Range
        Of spacing and extent.
    features : Space or None
        Of the first network; None where too few cases were held out from it.
    cases, validation : int
        Training and validation cases it was fitted to.
    validation_refused : int
        Of `validation`, how many this reference refuses.
    held_out, held_out_refused : int
        The same for all cases, each judged by a reference that was fitted without it (and without features).
    caught : dict of str to float
        Kind of spoiled image to the share of such images of held-out cases that is refused.
    """

    modality: str
    unit: Unit
    body_parts: tuple[str, ...] = ()
    ranges: tuple[Range, ...]
    intensity: Space
    texture: Space
    layout: Space
    features: Space | None
    orientation: Orientation | None
    inversion: Inversion
    limits: tuple[Limit, ...]
    cases: int
    validation: int
    validation_refused: int
    held_out: int
    held_out_refused: int
    caught: dict[str, Share] = {}
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What the model card says."""
        refused, of, how = self.validation_refused, self.validation, "validation cases"
        if not of:
            refused, of, how = (
                self.held_out_refused,
                self.held_out,
                "cases, judged by references that were fitted without them,",
            )
        told = ", ".join(f"{share:.1%} of {kind}" for kind, share in self.caught.items())
        return (
            f"Scans are compared with {self.cases} training cases; {refused} of {of} {how} are refused "
            f"({refused / max(of, 1):.1%}).",
            f"Of spoiled held-out images it catches {told}, by the detector made for them alone.",
            *self.notes,
        )
