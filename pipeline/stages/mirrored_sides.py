"""Findings that tell left from right, and settings that show a network images with the two exchanged."""

from collections.abc import Sequence

from pipeline.cohort.label_sides import names_side, side_of
from pipeline.data.settings import AugmentationChoice
from pipeline.domain.finding import Finding

LEFT_RIGHT = 0
"""Axis of prepared images: voxels of a volume run from the left to the right of a patient, columns across a picture."""


def mirrored_sides(
    findings: Sequence[Finding], augmentation: AugmentationChoice, tta_flips: Sequence[int]
) -> tuple[str, ...]:
    """Say which findings a mirror image contradicts: who has it on the left has it on the right there.

    Parameters
    ----------
    augmentation : AugmentationChoice
        Of training, as configured: a plan flips nothing.
    tta_flips : sequence of int
        Axes that predictions are averaged over.

    Returns
    -------
    tuple of str
        A sentence, or nothing.
    """
    flipped = (augmentation.flip_axes or ()) if augmentation.flip_probability != 0 else ()
    given = {"data.augmentation.flip_axes": flipped, "tta_flips": tta_flips}
    settings = [name for name, axes in given.items() if LEFT_RIGHT in axes]
    told = [finding.name for finding in findings if _tells_sides(finding)]
    if not settings or not told:
        return ()
    mirror = "mirrors" if len(settings) == 1 else "mirror"
    return (
        f"Left and right differ for {', '.join(told)}, but {' and '.join(settings)} {mirror} images along axis 0, "
        "which exchanges them. Leave axis 0 out, unless the side does not matter here.",
    )


def _tells_sides(finding: Finding) -> bool:
    """Whether its name or a class has a side written out, or its classes are sides: L and R, OD and OS."""
    return any(map(names_side, (finding.name, *finding.classes))) or {"L", "R"} <= set(map(side_of, finding.classes))
