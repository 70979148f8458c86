"""Low-rank adapters on convolutions and linear layers (LoRA, Hu et al. 2021), through peft.

A layer W becomes W + alpha / rank * B A: A has the kernel of the layer and `rank` outputs, B is 1x1 and starts at
zero, so that the network starts as it was. W stands still.
"""

import importlib.util
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.errors import TrainingError, UsageError
from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.settings import LoraSettings
from pipeline.training.finetuning.stages import stage_modules

BASE, DOWN, UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""Of the names that peft gives: the layer itself, A and B."""


def check_installed(settings: LoraSettings) -> None:
    """Refuse adapters where peft is not installed.

    Raises
    ------
    UsageError
    """
    if settings.rank and importlib.util.find_spec("peft") is None:
        raise UsageError(
            "training.finetune.lora needs the package peft, which is not installed.",
            'Run `pip install "resdx[lora]"`, or set training.finetune.lora.rank to 0.',
        )


def adapt(classifier: Classifier, settings: LoraSettings, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Put adapters beside the layers of a classifier, in place; it computes what it computed before.

    Parameters
    ----------
    without : tuple of str
        Stages that get none, because they stand still to the end.

    Returns
    -------
    tuple of str
        Layers that got none because peft cannot adapt or merge them: grouped and dilated convolutions.

    Raises
    ------
    UsageError
        peft is not installed.
    """
    if not settings.rank:
        return ()
    check_installed(settings)
    from peft import LoraConfig, inject_adapter_in_model  # loads transformers: only where it is asked for

    modules = stage_modules(classifier)
    chosen = [stage for stage in modules if settings.stages == "all" or stage in settings.stages]
    layers = _layers(classifier, tuple(f"{modules[stage]}." for stage in chosen if stage not in without))
    left_out = tuple(name for name, layer in layers.items() if not _can_be_adapted(layer))
    targets = [name for name in layers if name not in left_out]
    if targets:
        config = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
        )
        inject_adapter_in_model(config, classifier)
    return left_out


def merged(state: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Weights of the plain classifier that computes what the adapted one of this state does.

    peft 0.21 cannot merge a 1x1x1 convolution of a volume, which every bottleneck has; so it is done here, for any
    kernel: W[o, i, ...] + alpha / rank * sum over r of B[o, r] A[r, i, ...].

    Raises
    ------
    TrainingError
        A merged weight is not finite.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        layer, found, parameter = name.rpartition(BASE)
        if not found:
            plain[name] = tensor
            continue
        merged_name = f"{layer}.{parameter}"
        plain[merged_name] = tensor
        if parameter == "weight":
            down, up = state[layer + DOWN].double(), state[layer + UP].double()
            change = torch.einsum("or,ri...->oi...", up.flatten(1), down) * (settings.alpha / settings.rank)
            plain[merged_name] = (tensor.double() + change).to(tensor.dtype)
            if not plain[merged_name].isfinite().all():
                raise TrainingError(f"{merged_name} is not finite.", "Train with a lower training.learning_rate.")
    return plain


def _layers(classifier: nn.Module, prefixes: tuple[str, ...]) -> dict[str, nn.Module]:
    kinds = (nn.Conv2d, nn.Conv3d, nn.Linear)
    named = classifier.named_modules()
    return {name: module for name, module in named if name.startswith(prefixes) and isinstance(module, kinds)}


def _can_be_adapted(layer: nn.Module) -> bool:
    """Whether peft's adapter has the layer's geometry: it knows kernel, stride and padding, no groups, no dilation."""
    if isinstance(layer, nn.Conv2d | nn.Conv3d):
        return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return True
