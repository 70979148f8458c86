"""Networks of others, with weights and statistics that no two layers share, and files of their weights."""

from pathlib import Path
from typing import TypeVar

import torch
from monai.networks.nets.resnet import ResNet
from torch import nn

from pipeline.backbones.layouts import FOUR_STAGES
from pipeline.domain.finding import Finding, FindingKind
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings

Network = TypeVar("Network", bound=nn.Module)
BASIC, BOTTLENECK = FOUR_STAGES["basic"], FOUR_STAGES["bottleneck"]
LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe"))


def monai(
    depth: int, ndim: int, shortcut: str = "B", *, channels: int = 1, stride: int = 2, bias: bool = True
) -> ResNet:
    """MONAI's network, 8 channels wide."""
    network = ResNet(
        "basic" if depth in BASIC else "bottleneck",
        list((BASIC | BOTTLENECK)[depth]),
        [8, 16, 32, 64],
        spatial_dims=ndim,
        n_input_channels=channels,
        conv1_t_stride=stride,
        shortcut_type=shortcut,
        bias_downsample=bias,
        num_classes=3,
    )
    return randomise(network).eval()


def features(network: ResNet, x: torch.Tensor) -> torch.Tensor:
    """What MONAI's network gives its head."""
    fc, network.fc = network.fc, None
    with torch.no_grad():
        pooled = network(x)
    network.fc = fc
    return pooled


def randomise(network: Network) -> Network:
    """Biases, scales and statistics as a training leaves them: none at 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
        elif getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.1)
    return network


def classifier(
    ndim: int, channels: int = 1, findings: tuple[Finding, ...] = (LESION,), **backbone: object
) -> Classifier:
    """Ours, 8 channels wide with a large stem."""
    settings = {"backbone": {"kind": "resnet", "width": 8, "stem": "large", **backbone}}
    return build_classifier(NetworkSettings.from_mapping(settings), findings, ndim, channels).eval()


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    """Path of a PyTorch file of a state dict."""
    torch.save(state, path)
    return path
