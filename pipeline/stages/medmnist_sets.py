"""What is known of MedMNIST's data sets (Yang et al., Scientific Data 10:41, 2023) by the name of their file."""

import re
from dataclasses import dataclass

from pipeline.domain.finding import FindingKind

CUBE_MM = 64.0
"""Side of the cube that a volume of AdrenalMNIST3D or FractureMNIST3D shows; taken for the others too."""


@dataclass(frozen=True, slots=True)
class MedMnistSet:
    """One data set.

    Attributes
    ----------
    finding : str
        Name of what its labels say.
    classes : tuple of str
        In the order of the label's index; empty: the indices themselves, as many as there are.
    positive : str
        Binary: the class that a decision is about.
    of_masks : bool
        Volumes are outlines of a structure, whose shape can be measured; see
        :mod:`pipeline.preprocessing.mask_shape`.
    """

    finding: str
    kind: FindingKind
    modality: str
    classes: tuple[str, ...] = ()
    positive: str = ""
    of_masks: bool = False


def _binary(
    finding: str, modality: str, classes: tuple[str, str], positive: str, *, of_masks: bool = False
) -> MedMnistSet:
    return MedMnistSet(finding, FindingKind.BINARY, modality, classes, positive, of_masks)


def _organs(*names: str) -> MedMnistSet:
    return MedMnistSet("organ", FindingKind.MULTICLASS, "CT", names)


_ORGANS = _organs(
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

KNOWN = {
    "adrenalmnist3d": _binary("hyperplasia", "CT", ("normal", "hyperplasia"), "hyperplasia", of_masks=True),
    "nodulemnist3d": _binary("malignancy", "CT", ("benign", "malignant"), "malignant"),
    "vesselmnist3d": _binary("aneurysm", "MR", ("vessel", "aneurysm"), "aneurysm", of_masks=True),
    "breastmnist": _binary("malignancy", "US", ("malignant", "normal or benign"), "malignant"),
    "pneumoniamnist": _binary("pneumonia", "DX", ("normal", "pneumonia"), "pneumonia"),
    "retinamnist": MedMnistSet("retinopathy", FindingKind.ORDINAL, "OP", ("0", "1", "2", "3", "4")),
    "octmnist": MedMnistSet(
        "retina",
        FindingKind.MULTICLASS,
        "OPT",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "pathmnist": MedMnistSet("tissue", FindingKind.MULTICLASS, "SM"),
    "bloodmnist": MedMnistSet("cell", FindingKind.MULTICLASS, "SM"),
    "dermamnist": MedMnistSet("lesion", FindingKind.MULTICLASS, "DMS"),
    "organmnist3d": MedMnistSet("organ", FindingKind.MULTICLASS, "CT"),
    "fracturemnist3d": MedMnistSet("fracture", FindingKind.MULTICLASS, "CT"),
}
"""By file name, without size and ending."""


def known_set(stem: str) -> MedMnistSet | None:
    """Find the data set that a file is named after: ``adrenalmnist3d``, ``adrenalmnist3d_64``, ..."""
    return KNOWN.get(re.sub(r"_\d+$", "", stem.lower()))


def guessed_set(columns: int, classes: int) -> MedMnistSet:
    """Describe labels that no known set explains: numbers, of modality OT (other)."""
    if columns > 1:
        return MedMnistSet("labels", FindingKind.MULTILABEL, "OT", tuple(map(str, range(columns))))
    if classes == 2:
        return MedMnistSet("label", FindingKind.BINARY, "OT", ("0", "1"), "1")
    return MedMnistSet("label", FindingKind.MULTICLASS, "OT", tuple(map(str, range(classes))))
