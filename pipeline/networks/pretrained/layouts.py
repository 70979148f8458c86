"""Which network a file holds, by the names of its tensors, and what each is called here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pipeline.errors import PretrainedError
from pipeline.networks.pretrained.files import WeightsFile

LayoutName = Literal["torchvision", "medicalnet", "monai", "resdx"]

FIRST_BLOCK = re.compile(r"^(?P<prefix>(?:.*\.)?)(?P<stage>layer1\.0|stages\.0\.0)\.conv1\.weight$")
"""The tensor by which a residual network is found, whatever its names begin with."""

HEADS = ("fc.", "conv_seg.", "head.", "classifier.", "last_linear.")

OWN_HEADS = "heads."
COUNTER = "num_batches_tracked"

TRANSLATIONS = (
    (re.compile(r"^conv1\.(weight|bias)$"), r"stem.conv.\1"),
    (re.compile(r"^bn1\.(\w+)$"), r"stem.norm.\1"),
    (re.compile(r"\.bn(\d)\.(\w+)$"), r".norm\1.\2"),
    (re.compile(r"\.downsample\.0\.(\w+)$"), r".shortcut.conv.\1"),
    (re.compile(r"\.downsample\.1\.(\w+)$"), r".shortcut.norm.\1"),
)
"""From the names that torchvision gave and MedicalNet and MONAI took over; ``layer1`` is done apart."""


@dataclass(frozen=True, eq=False)
class Recognised:
    """The network of a file under our names.

    Attributes
    ----------
    trunk : mapping of str to Tensor
        Names as in :class:`pipeline.backbones.residual.ResidualNetwork`; ``attention.`` as in the network of slices.
    heads : mapping of str to Tensor
        Names in the file, for ours below ``heads.``.
    unknown : tuple of str
        Names that the layout does not know.
    others : tuple of str
        Names outside of the network: another one, an optimiser's average.
    """

    layout: LayoutName
    ndim: int
    trunk: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    unknown: tuple[str, ...]
    others: tuple[str, ...]


def recognise(file: WeightsFile, prefix: str = "") -> Recognised:
    """Find the residual network in a file.

    Raises
    ------
    PretrainedError
        The file holds none whose names are known, or several.
    """
    found = [match for name in file.tensors if (match := FIRST_BLOCK.match(name))]
    if prefix:
        found = [match for match in found if match["prefix"].rstrip(".") == prefix.rstrip(".")]
    if not found:
        shown = ", ".join(list(file.tensors)[:5])
        raise PretrainedError(
            f"{file.name} holds no residual network{f' below {prefix}' if prefix else ''} by names that are known: "
            f"neither layer1.0.conv1.weight nor stages.0.0.conv1.weight is there. Its first names: {shown}.",
            "Names of torchvision, MedicalNet, MONAI and resdx are known; rename the tensors to one of these.",
        )
    if len(found) > 1:
        names = ", ".join(match["prefix"] or "(none)" for match in found)
        raise PretrainedError(f"{file.name} holds {len(found)} networks: {names}.", "Choose one: pretrained.prefix.")
    start, stage = found[0]["prefix"], found[0]["stage"]
    ndim = file.tensors[found[0].string].ndim - 2
    if ndim not in (2, 3):
        raise PretrainedError(f"{file.name}: {found[0].string} is no kernel of two or three axes.")
    return _own(file, start, ndim) if stage.startswith("stages") else _foreign(file, start, ndim)


def _foreign(file: WeightsFile, prefix: str, ndim: int) -> Recognised:
    trunk, heads, unknown, others = {}, {}, [], []
    for name, tensor in file.tensors.items():
        inner = name.removeprefix(prefix)
        if not name.startswith(prefix):
            others.append(name)
        elif inner.startswith(HEADS):
            heads[name] = tensor
        elif (translated := translate(inner)) is not None:
            trunk[translated] = tensor
        else:
            unknown.append(name)
    return Recognised(_family(file, prefix, ndim), ndim, trunk, heads, tuple(unknown), tuple(others))


def translate(name: str) -> str | None:
    """Our name of a tensor of torchvision, MedicalNet or MONAI; None where it is none of a residual network's."""
    for pattern, ours in TRANSLATIONS:
        name = pattern.sub(ours, name)
    name = re.sub(r"^layer(\d)\.", lambda stage: f"stages.{int(stage[1]) - 1}.", name)
    return name if re.match(r"^(stem|stages\.\d+\.\d+)\.(conv|norm|shortcut\.)", name) else None


def _family(file: WeightsFile, prefix: str, ndim: int) -> LayoutName:
    """Who names tensors like this: only MedicalNet left ``module.`` and the head of a segmentation in 3D."""
    if ndim == 2:
        return "torchvision"
    names = [name.removeprefix(prefix) for name in file.tensors]
    segments = any(name.startswith("conv_seg.") for name in names)
    classifies = any(name.startswith("fc.") for name in names)
    return "medicalnet" if segments or (prefix == "module." and not classifies) else "monai"


def _own(file: WeightsFile, prefix: str, ndim: int) -> Recognised:
    """Ours: ``backbone.`` (of slices ``backbone.encoder.``) and, beside it, ``heads.``."""
    backbone = prefix.removesuffix("encoder.")
    beside = backbone.removesuffix("backbone.") + OWN_HEADS
    trunk, heads, others = {}, {}, []
    for name, tensor in file.tensors.items():
        if name.startswith(prefix) and not name.startswith(beside):
            trunk[name.removeprefix(prefix)] = tensor
        elif name.startswith(beside):
            heads[OWN_HEADS + name.removeprefix(beside)] = tensor
        elif backbone != prefix and name.startswith(backbone):
            trunk[name.removeprefix(backbone)] = tensor
        else:
            others.append(name)
    return Recognised("resdx", ndim, trunk, heads, (), tuple(others))
