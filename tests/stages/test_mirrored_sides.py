"""A finding that names a side is not trained on mirror images unawares."""

import pytest

from pipeline.cohort.label_sides import names_side
from pipeline.data.settings import AugmentationChoice
from pipeline.domain.finding import Finding, FindingKind
from pipeline.stages.mirrored_sides import mirrored_sides

SIDED = Finding(name="effusion_left", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
WHICH = Finding(name="side", kind=FindingKind.MULTICLASS, classes=("none", "Left lung", "Right lung"))
EYES = Finding(name="eye", kind=FindingKind.MULTICLASS, classes=("none", "OD", "OS"))
PLAIN = Finding(name="effusion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")


@pytest.mark.parametrize(
    "name", ["effusion_left", "leftHip", "RIGHT KIDNEY", "Niere rechts", "poumon gauche", "riñón_derecho", "right2"]
)
def test_sides_in_names_are_seen(name: str) -> None:
    assert names_side(name)


@pytest.mark.parametrize(
    "name", ["effusion", "bilateral", "cleft_palate", "upright", "leftover", "both", "re", "L", "LAD", "frightful"]
)
def test_other_words_are_none(name: str) -> None:
    assert not names_side(name)


def flips(*axes: int, probability: float | None = None) -> AugmentationChoice:
    return AugmentationChoice(flip_axes=axes, flip_probability=probability)


def test_a_mirror_along_the_axis_of_the_sides_is_told_with_its_settings() -> None:
    (line,) = mirrored_sides([PLAIN, SIDED, WHICH, EYES], flips(0, 1), tta_flips=(0,))
    assert "effusion_left, side, eye, but" in line
    assert "data.augmentation.flip_axes and tta_flips mirror images" in line
    (line,) = mirrored_sides([SIDED], AugmentationChoice(), tta_flips=(0,))
    assert "but tta_flips mirrors images" in line


def test_other_mirrors_and_other_findings_are_not() -> None:
    assert mirrored_sides([SIDED, WHICH], flips(1, 2), tta_flips=(1,)) == ()
    assert mirrored_sides([SIDED], flips(0, probability=0.0), tta_flips=()) == ()
    assert mirrored_sides([PLAIN], flips(0), tta_flips=(0,)) == ()
