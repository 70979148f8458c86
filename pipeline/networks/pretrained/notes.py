"""What the names and shapes of tensors cannot show."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.networks.pretrained.files import WeightsFile
from pipeline.networks.pretrained.layouts import Recognised

MEDICALNET = (
    "MedicalNet trained them for segmentation: its stages 3 and 4 keep the size of the map and dilate their kernels by "
    "2 and 4, here they stride. Behind the first convolution of each of the two a kernel reaches as far as there; that "
    "first one reaches half as far."
)
MONAI = (
    "A stride leaves no trace in weights: MONAI's own default in a 7x7 stem is 1, a large stem strides by 2 here "
    "unless network.backbone.strides says otherwise."
)
UNSEEN = ("kind", "stem", "strides", "norm", "antialias", "average_shortcut", "residual")
"""Settings of a backbone that change what it computes and may leave no trace in its tensors' names and shapes."""


def notes(found: Recognised, file: WeightsFile, backbone: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what a reviewer should know; `backbone` holds the settings of ours, where they are known."""
    if found.layout == "medicalnet":
        yield MEDICALNET
    if found.layout == "monai" and "stem.conv.weight" in found.trunk and found.trunk["stem.conv.weight"].shape[-1] == 7:
        yield MONAI
    if backbone is not None and file.backbone is not None:
        for name in UNSEEN:
            theirs, ours = _plain(file.backbone.get(name)), _plain(backbone.get(name))
            if theirs is not None and theirs != ours and not _of_other_axes(theirs, ours):
                yield f"The weights were trained with {name} {theirs}, the network has {ours}."


def _of_other_axes(theirs: Any, ours: Any) -> bool:
    """Whether both are strides, those of pictures and those of volumes, which cannot be equal."""
    both = [value for value in (theirs, ours) if isinstance(value, list) and value]
    return len(both) == 2 and len(both[0][0]) != len(both[1][0])


def _plain(value: Any) -> Any:
    """Tuples and lists alike."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
