"""Which weights a training begins with."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.config import Settings


class PretrainedSettings(Settings):
    """Weights from a local file, and how they are made to fit."""

    file: Path | None = Field(
        default=None,
        description="Weights to begin with: .safetensors, a PyTorch state dict (read without pickle), or the folder of "
        "a model package. Known by their names: torchvision's 2D ResNets, ResNeXt and wide ones, MedicalNet, MONAI, "
        "resdx. null begins with random weights.",
    )
    prefix: str = Field(
        default="",
        description="Where a file holds several networks: what the names of the wanted one begin with, e.g. encoder_q.",
    )
    two_d: Literal["inflate", "acs"] = Field(
        default="inflate",
        description="How 2D kernels become 3D ones. inflate: repeated along k and divided (Carreira and Zisserman "
        "2017). acs: a third of the output channels each lies in the axial, coronal and sagittal plane (Yang et al. "
        "2021). Where the network looks at slices, 2D kernels stay as they are.",
    )
    axes: Literal["auto", "ijk", "kji"] = Field(
        default="auto",
        description="Order of the kernels' axes in the file. ijk: columns, rows, slices, as images are here and in "
        "MONAI. kji: rows before columns, slices first; such kernels are turned round. auto: kji for torchvision's "
        "names in 2D and for MedicalNet, else ijk.",
    )
    fresh: tuple[str, ...] = Field(
        default=(),
        description="Stages that keep their random weights: stem, stage1, ... . A 7x7 stem does not go into a 3x3 one: "
        "choose the stem that the weights have, or leave it fresh.",
    )
    heads: Literal["fresh", "same_findings"] = Field(
        default="fresh",
        description="fresh: the heads start anew, whatever the file holds. same_findings: those of a model package are "
        "taken, and every finding must stand in it, with equal classes.",
    )
    least_matched: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Smallest share of the network's tensors that the file fills, and of the file's that the network "
        "takes; fresh stages and heads do not count. Below it the weights are refused.",
    )
