"""How cases are loaded and changed for training. Imports no torch, so that a configuration is cheap to read."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from pipeline.config import Settings


class AugmentationSettings(Settings):
    """Strength of each random change; 0 (or no axis) switches it off. All at 0: images are left as prepared."""

    flip_axes: tuple[NonNegativeInt, ...] = Field(
        default=(),
        description="Spatial axes that may be mirrored (3D: 0 left-right, 1 back-front, 2 feet-head; 2D: 0 columns, "
        "1 rows). None by default: where the side matters, a mirrored patient is another diagnosis.",
    )
    flip_probability: float = Field(default=0.5, ge=0, le=1, description="Chance of mirroring, for each axis.")
    shift: NonNegativeInt = Field(default=2, description="Largest shift along each axis, in voxels.")
    rotation: float = Field(
        default=0.0, ge=0, le=180, description="Largest rotation in degrees (3D: about each of the three axes)."
    )
    scale: float = Field(default=0.0, ge=0, lt=1, description="Largest change of size: 0.1 is 0.9 to 1.1 times.")
    intensity_scale: float = Field(
        default=0.1, ge=0, lt=1, description="Largest change of contrast: 0.1 is 0.9 to 1.1 times the prepared values."
    )
    intensity_shift: NonNegativeFloat = Field(
        default=0.1, description="Largest change of brightness, in prepared units (a window spans -1 to 1)."
    )
    noise: NonNegativeFloat = Field(
        default=0.0, description="Largest standard deviation of Gaussian noise, in prepared units."
    )

    @property
    def interpolates(self) -> bool:
        """Whether voxels are resampled; flips and whole-voxel shifts alone are exact."""
        return self.rotation > 0 or self.scale > 0


class DataSettings(Settings):
    """How cases are loaded and changed for training."""

    workers: NonNegativeInt = Field(
        default=0, description="Processes that load data; 0 loads in the main one, which is enough for prepared cases."
    )
    balance: str = Field(
        default="",
        description="Finding by which training visits every class equally often (with replacement). Empty: each case "
        "once an epoch.",
    )
    augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="Random changes of training images."
    )
