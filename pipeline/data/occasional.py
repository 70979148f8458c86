"""Random changes that only some training images undergo: artefacts of scanners, bends, and a hidden part.

Each stands for something seen in hospitals: another transfer curve (gamma), a soft kernel or a patient who moved
(blur), thicker slices (low resolution), a coil near one side (bias field), tissue that gives (elastic); or it hides a
part, so that a network looks for more than one sign (cutout, DeVries and Taylor 2017). What is random is drawn by numpy
on one thread, and sums are taken there too, so that an image comes out alike with any number of threads.

Gamma and blur are MONAI's, which takes seconds to load, so this module is imported where a change is asked for. The
others have cousins there that were left alone: its low resolution moves the image by half a voxel and more, its bias
field in 2D is steeper along one axis, its 3D deformation and dropout differ in the last bit with the number of threads.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from monai.transforms.intensity.array import AdjustContrast
from monai.utils.type_conversion import convert_to_tensor
from numpy.polynomial import legendre
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.draws import OCCASIONAL, Draw
from pipeline.data.settings import AugmentationSettings

BENDS = 6
"""Distances between control points of an elastic deformation along the shortest axis."""

FEWEST_VOXELS = 4
"""Below so many voxels along the shortest axis there is nothing to bend."""

SPLINE_VARIANCE = 151 / 315
"""Mean over a cell of the summed squares of the four cubic B-splines: what is left of a variance along each axis."""

DEGREE = 3
"""Largest degree of the terms of a bias field, all axes together (Van Leemput et al. 1999 have 4)."""

SEEDS = 2**32
"""numpy's RandomState takes seeds below this."""

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
    """Bend smoothly: `strength` is the standard deviation of the displacement along each axis, in voxels.

    A free-form deformation: random displacements of a coarse grid of points, between them cubic B-splines (Rueckert et
    al. 1999). Voxels that come from outside the image repeat its edge.
    """
    space = image.shape[1:]
    if min(space) < FEWEST_VOXELS:
        return image
    ndim, step = len(space), min(space) / BENDS
    splines = [_splines(length, step) for length in space]
    points = random.standard_normal((ndim, *(matrix.shape[1] for matrix in splines)))
    moved = points * (strength / SPLINE_VARIANCE ** (ndim / 2))
    for axis, matrix in enumerate(splines, start=1):
        moved = np.moveaxis(np.einsum("lp,...p->...l", matrix, np.moveaxis(moved, axis, -1)), -1, axis)
    voxels = np.meshgrid(*map(np.arange, space), indexing="ij")
    # grid_sample names the last axis first, and the image reaches from -1 to 1
    where = [(2 * (v + d) + 1) / n - 1 for v, d, n in zip(voxels, moved, space, strict=True)][::-1]
    grid = torch.from_numpy(np.stack(where, axis=-1).astype(np.float32)).to(image.device)
    return F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def low_resolution(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Scan more coarsely: between 1 and (1 - strength) times as many voxels, averaged, then interpolated.

    In 3D along one axis, as thicker slices do; in 2D along both.
    """
    ndim = image.ndim - 1
    share = 1.0 - strength * random.uniform()
    coarse = range(ndim) if ndim == 2 else (int(random.randint(ndim)),)
    size = [max(1, round(n * share)) if axis in coarse else n for axis, n in enumerate(image.shape[1:])]
    fewer = F.interpolate(image[None], size, mode="area")
    mode = "bilinear" if ndim == 2 else "trilinear"
    return F.interpolate(fewer, image.shape[1:], mode=mode, align_corners=False)[0]


def blur(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Gaussian of at most `strength` voxels; the edge is repeated outside."""
    sigma = torch.tensor(random.uniform(0.0, strength), device=image.device)
    kernel = gaussian_1d(sigma, truncated=4.0)
    kernels = [kernel / kernel.sum()] * (image.ndim - 1)
    blurred: Tensor = separable_filtering(image[None], kernels, mode="replicate")[0]
    return blurred


def bias_field(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Brighten smoothly across the field of view: times exp(polynomial), all channels alike.

    Legendre polynomials of degree 1 to 3, with coefficients up to `strength`. The darkest value of a channel stands for
    no signal, and stays; prepared values are centred, so theirs is not zero.
    """
    ndim = image.ndim - 1
    coefficients = np.zeros((DEGREE + 1,) * ndim)
    for powers in itertools.product(range(DEGREE + 1), repeat=ndim):
        if 1 <= sum(powers) <= DEGREE:
            coefficients[powers] = random.uniform(-strength, strength)
    axes = [np.linspace(-1.0, 1.0, length) for length in image.shape[1:]]
    grid: Callable[..., Any] = legendre.leggrid2d if ndim == 2 else legendre.leggrid3d
    field = torch.from_numpy(np.exp(grid(*axes, coefficients)).astype(np.float32)).to(image.device)
    floor = image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
    return (image - floor) * field + floor


def gamma(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Bend the curve between the darkest and the brightest of each channel.

    The exponent lies between 1 / (1 + strength) and 1 + strength, as often above 1 as below, alike for all channels.
    """
    bend = AdjustContrast(float((1.0 + strength) ** random.uniform(-1.0, 1.0)))
    return torch.stack([convert_to_tensor(bend(channel), track_meta=False) for channel in image])


def cutout(image: Tensor, strength: float, random: np.random.RandomState) -> Tensor:
    """Fill a box with the mean of each channel; its sides are between half of and `strength` times each axis."""
    sides = [max(1, round(length * strength * random.uniform(0.5, 1.0))) for length in image.shape[1:]]
    first = [int(random.randint(length - side + 1)) for length, side in zip(image.shape[1:], sides, strict=True)]
    box = (slice(None), *(slice(start, start + side) for start, side in zip(first, sides, strict=True)))
    mean = image.cpu().numpy().reshape(len(image), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
    image[box] = torch.from_numpy(mean).to(image.device).view(-1, *(1,) * (image.ndim - 1))
    return image


CHANGES: dict[str, Change] = {
    "elastic": elastic,
    "low_resolution": low_resolution,
    "blur": blur,
    "bias_field": bias_field,
    "gamma": gamma,
    "cutout": cutout,
}


def _splines(length: int, step: float) -> NDArray[np.float64]:
    """Weight of each control point in each voxel along an axis, shape (length, points); points lie `step` apart."""
    place = np.arange(length) / step
    cell = np.floor(place).astype(int)
    t = place - cell
    four = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((length, math.ceil((length - 1) / step) + 4))
    for number, weight in enumerate(four):
        weights[np.arange(length), cell + number] = weight / 6
    return weights
