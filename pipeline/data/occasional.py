"""Random changes that only some training images undergo: artefacts of scanners, bends, and a hidden part. By MONAI.

Each stands for something seen in hospitals: another transfer curve (gamma), a soft kernel or a patient who moved
(blur), a coarser scan (low resolution), a coil near one side (bias field), tissue that gives (elastic); or it hides a
part, so that a network looks for more than one sign (cutout, DeVries and Taylor 2017). MONAI takes seconds to load, so
this module is imported where a change is asked for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.transforms.intensity.array import AdjustContrast, GaussianSmooth, RandBiasField, RandCoarseDropout
from monai.transforms.spatial.array import Rand2DElastic, Rand3DElastic, RandSimulateLowResolution
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from pipeline.data.draws import OCCASIONAL, Draw
from pipeline.data.settings import AugmentationSettings

BENDS = 6
"""Bends of an elastic deformation along the shortest axis, about."""

FEWEST_VOXELS = 4
"""Below so many voxels along the shortest axis there is nothing to bend."""

BETWEEN_POINTS = 0.88
"""Deviation that MONAI's plane deformation has, over all pixels, of that at its control points; measured."""

SEEDS = 2**32
"""numpy's RandomState, MONAI's source of randomness, takes seeds below this."""

Change = Callable[[Tensor, float, np.random.RandomState], Tensor]


def change_occasionally(image: Tensor, one: Draw, settings: AugmentationSettings) -> Tensor:
    """Apply the occasional changes that were drawn for an image, on the device where it lies.

    Parameters
    ----------
    image : Tensor of float32, shape (c, *space)
        May be changed in place.
    one : Draw
    settings : AugmentationSettings
        How strong each is at most.

    Returns
    -------
    Tensor of float32, shape (c, *space)
    """
    for number, name in enumerate(OCCASIONAL):
        if name in one.occasions:
            random = np.random.RandomState((one.seed + number) % SEEDS)
            image = CHANGES[name](image, float(getattr(settings, name)), random)
    return image


def elastic(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Bend smoothly: `strength` is the standard deviation of the displacement along each axis, in voxels."""
    space = image.shape[1:]
    if min(space) < FEWEST_VOXELS:
        return image
    bend = min(space) / BENDS
    if len(space) == 2:
        # normal numbers at points that lie so far apart; between them bicubic interpolation leaves less
        magnitude = strength / BETWEEN_POINTS
        flat = Rand2DElastic((bend, bend), (magnitude, magnitude), prob=1.0, padding_mode="border")
        return _applied(flat, image, random)
    sigma = bend / 2
    # uniform numbers, whose deviation a Gaussian of n axes divides by (2 sqrt(pi) sigma)^(n / 2)
    magnitude = strength * 3**0.5 * (2 * np.pi**0.5 * sigma) ** 1.5
    solid = Rand3DElastic((sigma, sigma), (magnitude, magnitude), prob=1.0, padding_mode="border")
    return _applied(solid, image, random)


def low_resolution(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Scan more coarsely: between 1 and (1 - strength) times as many voxels along each axis, then interpolated."""
    mode = "bilinear" if image.ndim == 3 else "trilinear"
    coarse = RandSimulateLowResolution(prob=1.0, upsample_mode=mode, zoom_range=(1.0 - strength, 1.0))
    return _applied(coarse, image, random)


def blur(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Gaussian of at most `strength` voxels."""
    return _applied(GaussianSmooth(random.uniform(0.0, strength)), image)


def bias_field(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Brighten smoothly across the field of view: times exp(polynomial of degree 3 with coefficients to `strength`).

    The darkest value stands for no signal, and stays; prepared values are centred, so theirs is not zero.
    """
    floor = image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
    field = RandBiasField(degree=3, coeff_range=(-strength, strength), prob=1.0)
    return _applied(field, image - floor, random) + floor


def gamma(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Bend the curve between the darkest and the brightest: exponent from 1 / (1 + strength) to 1 + strength."""
    return _applied(AdjustContrast(float((1.0 + strength) ** random.uniform(-1.0, 1.0))), image)


def cutout(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Fill a box of at most `strength` times each axis with the image's mean."""
    largest = [max(1, round(strength * length)) for length in image.shape[1:]]
    smallest = [max(1, length // 2) for length in largest]
    box = RandCoarseDropout(1, smallest, max_spatial_size=largest, fill_value=float(image.mean()), prob=1.0)
    return _applied(box, image, random)


def _applied(transform: Any, image: Tensor, random: np.random.RandomState | None = None) -> Tensor:
    """Apply a transform of MONAI, and leave the metadata that it would carry along."""
    if random is not None:
        transform.set_random_state(state=random)
    changed: Tensor = convert_to_tensor(transform(image), dtype=torch.float32, track_meta=False)
    return changed


CHANGES: dict[str, Change] = {
    "elastic": elastic,
    "low_resolution": low_resolution,
    "blur": blur,
    "bias_field": bias_field,
    "gamma": gamma,
    "cutout": cutout,
}
