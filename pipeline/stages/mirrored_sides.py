"""Findings that name a side, and settings that show a network images with left and right exchanged."""

from collections.abc import Sequence

from pipeline.cohort.label_sides import names_side
from pipeline.domain.finding import Finding

LEFT_RIGHT = 0
"""Axis of prepared images: voxels of a volume run from the left to the right of a patient, columns across a picture."""


def mirrored_sides(findings: Sequence[Finding], flip_axes: Sequence[int], tta_flips: Sequence[int]) -> tuple[str, ...]:
    """Say which findings a mirror image contradicts: who has it on the left has it on the right there.

    Parameters
    ----------
    flip_axes, tta_flips : sequence of int
        ``data.augmentation.flip_axes``, for training, and ``tta_flips``, for predictions.

    Returns
    -------
    tuple of str
        A sentence, or nothing.
    """
    given = {"data.augmentation.flip_axes": flip_axes, "tta_flips": tta_flips}
    settings = [name for name, axes in given.items() if LEFT_RIGHT in axes]
    told = [finding.name for finding in findings if any(map(names_side, (finding.name, *finding.classes)))]
    if not settings or not told:
        return ()
    return (
        f"Left and right differ for {', '.join(told)}, but {' and '.join(settings)} mirrors images along axis 0, which "
        "exchanges them. Leave axis 0 out, unless the side does not matter here.",
    )
