"""How cases are loaded and changed for training. Imports no torch, so that a configuration is cheap to read."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from pipeline.config import Settings
from pipeline.domain.plan import Augmentation

MOST_VOXELS = 16
"""Of blur and elastic displacement: beyond it nothing is left of an image."""


class AugmentationChoice(Settings):
    """Strength of each random change; null takes what the plan decided (`resdx plan` says why), 0 switches it off."""

    flip_axes: tuple[NonNegativeInt, ...] | None = Field(
        default=None,
        description="Spatial axes that may be mirrored (3D: 0 left-right, 1 back-front, 2 feet-head; 2D: 0 columns, "
        "1 rows). A plan never takes any: where the side matters, a mirrored patient is another diagnosis.",
    )
    flip_probability: float | None = Field(
        default=None, ge=0, le=1, description="Chance of mirroring, for each axis; planned: 0.5."
    )
    shift: NonNegativeInt | None = Field(default=None, description="Largest shift along each axis, in voxels.")
    rotation: float | None = Field(
        default=None, ge=0, le=180, description="Largest rotation in degrees (3D: about each of the three axes)."
    )
    scale: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest change of size: 0.1 is 0.9 to 1.1 times. Planned only where the scale is not known: "
        "elsewhere size may be what the finding is about.",
    )
    intensity_scale: float | None = Field(
        default=None, ge=0, lt=1, description="Largest change of contrast: 0.1 is 0.9 to 1.1 times the prepared values."
    )
    intensity_shift: NonNegativeFloat | None = Field(
        default=None, description="Largest change of brightness, in prepared units (a window spans -1 to 1)."
    )
    noise: NonNegativeFloat | None = Field(
        default=None, description="Largest standard deviation of Gaussian noise, in prepared units; planned: none."
    )
    occasional_probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Chance of each change below, for each image; those above happen to every image. Planned: 0.15.",
    )
    elastic: float | None = Field(
        default=None,
        ge=0,
        le=MOST_VOXELS,
        description="Standard deviation of a smooth displacement, in voxels; a tenth of the shortest axis is much. "
        "Planned: none, for shape may be what the finding is about.",
    )
    low_resolution: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest loss of resolution: 0.5 is down to half the voxels, in 3D along one axis, as "
        "thicker slices have it, in 2D along both; interpolated again. "
        "Planned where the spacing of the training scans differs.",
    )
    blur: float | None = Field(
        default=None,
        ge=0,
        le=MOST_VOXELS,
        description="Largest standard deviation of a Gaussian blur, in voxels; planned: none.",
    )
    bias_field: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest coefficient of the polynomial whose exponential brightens one side of the scan, as coils "
        "of MR do; planned for MR.",
    )
    gamma: float | None = Field(
        default=None,
        ge=0,
        le=4,
        description="Largest bend of the curve of values: 0.3 is an exponent of 1/1.3 to 1.3. Planned where values "
        "have no unit.",
    )
    cutout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest side of a box that is filled with the image's mean, as a share of each axis. Planned: "
        "none, for it may hide a small finding.",
    )

    @property
    def interpolates(self) -> bool:
        """Whether voxels are resampled, or may be; flips and whole-voxel shifts alone are exact."""
        return self.rotation != 0 or self.scale != 0

    def settled(self, planned: Augmentation | None) -> "AugmentationSettings":
        """Fill in what is not given from a plan; a plan that holds no strengths leaves the usual ones."""
        given = self.model_dump(exclude_none=True)
        return AugmentationSettings.model_validate((planned.model_dump() if planned else {}) | given)


class AugmentationSettings(AugmentationChoice):
    """Strength of each random change, all settled. All at 0: images are left as prepared."""

    flip_axes: tuple[NonNegativeInt, ...] = ()
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    shift: NonNegativeInt = 2
    rotation: float = Field(default=0.0, ge=0, le=180)
    scale: float = Field(default=0.0, ge=0, lt=1)
    intensity_scale: float = Field(default=0.1, ge=0, lt=1)
    intensity_shift: NonNegativeFloat = 0.1
    noise: NonNegativeFloat = 0.0
    occasional_probability: float = Field(default=0.15, ge=0, le=1)
    elastic: float = Field(default=0.0, ge=0, le=MOST_VOXELS)
    low_resolution: float = Field(default=0.0, ge=0, lt=1)
    blur: float = Field(default=0.0, ge=0, le=MOST_VOXELS)
    bias_field: float = Field(default=0.0, ge=0, le=1)
    gamma: float = Field(default=0.0, ge=0, le=4)
    cutout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def changes(self) -> bool:
        """Whether anything is on."""
        amounts = (self.shift, self.rotation, self.scale, self.intensity_scale, self.intensity_shift, self.noise)
        return bool(self.flip_axes and self.flip_probability) or any(amounts) or self.sometimes

    @property
    def sometimes(self) -> bool:
        """Whether some images undergo changes that others do not."""
        amounts = (self.elastic, self.low_resolution, self.blur, self.bias_field, self.gamma, self.cutout)
        return bool(self.occasional_probability) and any(amounts)


class DataSettings(Settings):
    """How cases are loaded and changed for training."""

    workers: NonNegativeInt = Field(
        default=0, description="Processes that load data; 0 loads in the main one, which is enough for prepared cases."
    )
    balance: str = Field(
        default="",
        description="Finding by which training visits every class equally often (with replacement); class weights "
        "and logit adjustment then follow from these visits and do not correct twice. Empty: each case once an epoch.",
    )
    augmentation: AugmentationChoice = Field(
        default=AugmentationChoice(), description="Random changes of training images."
    )
    augment_on: Literal["auto", "processor", "device"] = Field(
        default="auto",
        description="Where training images are changed. processor: while they are loaded. device: where the network "
        "is, behind the loader; equal within rounding but for the noise. auto: on a GPU, if there is one.",
    )
