"""A finding that names a side is not trained on mirror images unawares."""

import pytest

from pipeline.cohort.label_sides import names_side
from pipeline.domain.finding import Finding, FindingKind
from pipeline.stages.mirrored_sides import mirrored_sides

SIDED = Finding(name="effusion_left", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
WHICH = Finding(name="side", kind=FindingKind.MULTICLASS, classes=("none", "Left lung", "Right lung"))
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


def test_a_mirror_along_the_axis_of_the_sides_is_told_with_its_settings() -> None:
    (line,) = mirrored_sides([PLAIN, SIDED, WHICH], flip_axes=(0, 1), tta_flips=(0,))
    assert "effusion_left, side" in line
    assert "data.augmentation.flip_axes and tta_flips" in line
    (line,) = mirrored_sides([SIDED], flip_axes=(), tta_flips=(0,))
    assert "but tta_flips mirrors" in line


def test_other_mirrors_and_other_findings_are_not() -> None:
    assert mirrored_sides([SIDED, WHICH], flip_axes=(1, 2), tta_flips=(1,)) == ()
    assert mirrored_sides([PLAIN], flip_axes=(0,), tta_flips=(0,)) == ()
