"""Decide how strongly training images are changed at random, from what was measured and planned.

The rules err on the side of too little: what they leave at 0 may be what the finding is about.
"""

from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Augmentation, Decision

FEW_CASES = 200
"""Below so many cases, patients differ more than the cases show: rotation is half as large again."""

SHIFT_SHARE, LARGEST_SHIFT = 0.06, 8
"""Shift as a share of the shortest axis, and its limit in voxels."""

ROTATION = 10.0
"""Degrees: how far patients lie otherwise than each other, as a rule."""

FEWEST_VOXELS = 16
"""Along the shortest axis: with fewer, interpolation blurs what there is to see."""

SCALE = 0.1
CONTRAST = 0.1
CALIBRATED_CONTRAST = 0.05
"""Contrast and brightness where values have a unit that holds across scanners."""

GAMMA = 0.3
BIAS_FIELD = 0.1
"""Largest coefficient of the polynomial whose exponential multiplies a scan."""

UNLIKE_SPACING = 1.5
"""Ratio of the 90th to the 10th percentile of spacing, along any axis, from which scans differ in resolution."""

MOST_LOST = 0.5
"""Of resolution, however much scans differ."""


def choose_strengths(
    fingerprint: Fingerprint, size: tuple[int, ...], *, fit: bool, mask: bool
) -> tuple[Augmentation, tuple[Decision, ...]]:
    """Choose strengths, each with its reason.

    Parameters
    ----------
    size : tuple of int
        Input of the network, voxels along each axis.
    fit : bool
        Whether each field of view is scaled into the size.
    mask : bool
        Whether voxels take two values.
    """
    shift = min(max(round(SHIFT_SHARE * min(size)), 1), LARGEST_SHIFT)
    rotation, why_rotation = _rotation(fingerprint, size)
    scale, why_scale = _scale(fingerprint, size, fit)
    contrast, why_contrast = _contrast(fingerprint, mask)
    gamma, why_gamma = _gamma(fingerprint, mask)
    bias, why_bias = _bias_field(fingerprint, mask)
    lost, why_lost = _low_resolution(fingerprint, mask)
    chosen = Augmentation(
        shift=shift,
        rotation=rotation,
        scale=scale,
        intensity_scale=contrast,
        intensity_shift=contrast,
        gamma=gamma,
        bias_field=bias,
        low_resolution=lost,
    )
    some = f" in {chosen.occasional_probability:.0%} of images"
    told = (
        ("flips", "none", "the side may matter: a mirrored patient is another one; give data.augmentation.flip_axes"),
        ("shift", f"up to {shift} voxels", f"{SHIFT_SHARE:.0%} of the shortest axis, {LARGEST_SHIFT} voxels at most"),
        ("rotation", f"up to {rotation:g} degrees" if rotation else "none", why_rotation),
        ("scale", f"{1 - scale:g} to {1 + scale:g} times" if scale else "none", why_scale),
        ("contrast", f"{1 - contrast:g} to {1 + contrast:g} times" if contrast else "none", why_contrast),
        ("gamma", f"{1 / (1 + gamma):.2g} to {1 + gamma:g}{some}" if gamma else "none", why_gamma),
        ("bias_field", f"coefficients up to {bias:g}{some}" if bias else "none", why_bias),
        ("low_resolution", f"down to {1 - lost:g} times{some}" if lost else "none", why_lost),
        ("elastic", "none", "shape may be what the finding is about; give data.augmentation.elastic"),
        ("blur", "none", "sharpness may be what the finding is about; give data.augmentation.blur"),
        ("cutout", "none", "it may hide a small finding; give data.augmentation.cutout"),
    )
    return chosen, tuple(Decision(name=name, value=value, reason=f"augmentation: {why}") for name, value, why in told)


def _rotation(fingerprint: Fingerprint, size: tuple[int, ...]) -> tuple[float, str]:
    if min(size) < FEWEST_VOXELS:
        return 0.0, _too_small(size)
    if fingerprint.cases < FEW_CASES:
        why = f"{fingerprint.cases} cases, fewer than {FEW_CASES}, show little of how patients may lie"
        return 1.5 * ROTATION, why
    return ROTATION, "patients do not lie alike"


def _scale(fingerprint: Fingerprint, size: tuple[int, ...], fit: bool) -> tuple[float, str]:
    if not fit:
        return 0.0, f"the scale in {fingerprint.unit.value} is kept, and size may be what the finding is about"
    if min(size) < FEWEST_VOXELS:
        return 0.0, _too_small(size)
    return SCALE, "each field of view is scaled into the size, so sizes do not compare anyway"


def _contrast(fingerprint: Fingerprint, mask: bool) -> tuple[float, str]:
    if mask:
        return 0.0, "a mask has no contrast to vary"
    if _has_unit(fingerprint):
        unit = _unit_of(fingerprint)
        return CALIBRATED_CONTRAST, f"brightness alike; {unit} hold across scanners, kernels and contrast agent differ"
    return CONTRAST, f"brightness alike; {fingerprint.modality} has no unit that holds across devices"


def _gamma(fingerprint: Fingerprint, mask: bool) -> tuple[float, str]:
    if mask:
        return 0.0, "a mask has no curve of values"
    if _has_unit(fingerprint):
        return 0.0, f"{_unit_of(fingerprint)} are linear on every scanner"
    return GAMMA, f"{fingerprint.modality} has no unit: each device has its own curve of values"


def _bias_field(fingerprint: Fingerprint, mask: bool) -> tuple[float, str]:
    if fingerprint.modality != "MR" or mask:
        return 0.0, "only coils of MR brighten one side of a scan"
    return BIAS_FIELD, "coils of MR brighten one side of a scan"


def _low_resolution(fingerprint: Fingerprint, mask: bool) -> tuple[float, str]:
    spacings = fingerprint.spacing[: fingerprint.ndim]
    ratio = max(axis.p90 / axis.p10 if axis.p10 > 0 else 1.0 for axis in spacings)
    if mask:
        return 0.0, "interpolation would blur the borders of a mask"
    if fingerprint.unit is Unit.PIXEL:
        return 0.0, "pictures have no spacing that could differ"
    if ratio < UNLIKE_SPACING:
        return 0.0, f"the spacing of the training scans is alike (90th to 10th percentile: {ratio:.2g} at most)"
    lost = min(round(1 - 1 / ratio, 1), MOST_LOST)
    return lost, f"the spacing of the training scans differs (90th to 10th percentile: {ratio:.2g})"


def _has_unit(fingerprint: Fingerprint) -> bool:
    return fingerprint.suv or fingerprint.modality == "CT"


def _unit_of(fingerprint: Fingerprint) -> str:
    return "standardized uptake values" if fingerprint.suv else "Hounsfield units"


def _too_small(size: tuple[int, ...]) -> str:
    return f"{min(size)} voxels along an axis, fewer than {FEWEST_VOXELS}: interpolation would blur what there is"
