"""Adapters start as nothing, train alone, and are merged into a plain classifier that computes the same."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import TrainingError, UsageError
from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.adapters import adapt, check_installed, merged
from pipeline.training.finetuning.beginning import begin
from pipeline.training.finetuning.settings import FinetuneSettings, LoraSettings

pytest.importorskip("peft")
from peft.tuners.lora import LoraLayer

NETWORKS = {
    "basic": {"depth": 10},
    "bottleneck with excitation": {"depth": 14, "squeeze_excitation": 4},
    "pre-activation, biases": {"depth": 10, "preactivation": True, "norm": "none", "shortcut": "C"},
    "deep stem": {"depth": 10, "stem": "deep"},
    "grouped": {"depth": 14, "width": 8, "groups": 4, "group_width": 32},
}


def images(ndim: int) -> Tensor:
    return torch.randn(3, 1, *(16,) * ndim, generator=torch.Generator().manual_seed(1))


def stir(classifier: Classifier) -> None:
    """As after a training: B is no longer zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1, generator=generator)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_merged_classifier_is_plain_and_computes_the_same(build: Any, network: str, ndim: int) -> None:
    classifier, plain = (build(ndim, **NETWORKS[network]).eval() for _ in range(2))
    lora = LoraSettings(rank=3, alpha=5)
    with torch.no_grad():
        for made in (classifier, plain):
            made.heads[0].weight.mul_(100)  # logits of the order of 1
    before = classifier(images(ndim))
    left_out = adapt(classifier, lora)
    assert torch.equal(classifier(images(ndim)), before)
    grouped = [name for name, layer in plain.named_modules() if getattr(layer, "groups", 1) > 1]
    assert list(left_out) == grouped
    assert bool(grouped) is (network == "grouped")
    convolutions = [n for n, m in plain.backbone.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)]
    adapted = [n for n, m in classifier.backbone.named_modules() if isinstance(m, LoraLayer)]
    assert len(adapted) == len(convolutions) - len(grouped)
    stir(classifier)
    expected = classifier(images(ndim))
    assert (expected - before).abs().max() > 1e-2
    plain.load_state_dict(merged(classifier.state_dict(), lora))
    torch.testing.assert_close(plain(images(ndim)), expected, atol=1e-5, rtol=1e-5)


def test_merging_agrees_with_peft_where_it_can_merge(build: Any) -> None:
    """In 2D; peft 0.21 raises on 1x1x1 convolutions."""
    classifier, lora = build(2, depth=14), LoraSettings(rank=2, alpha=8)
    adapt(classifier, lora)
    stir(classifier)
    found = merged(classifier.state_dict(), lora)
    for name, layer in classifier.named_modules():
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            torch.testing.assert_close(found[f"{name}.weight"], layer.get_base_layer().weight.data)


def test_adapters_norms_and_heads_train_and_nothing_else(build: Any) -> None:
    classifier = build(3, depth=14, squeeze_excitation=4)
    sentences = begin(classifier, FinetuneSettings(lora=LoraSettings(rank=2)), 5)
    for name, parameter in classifier.named_parameters():
        expected = ".lora_" in name or "norm" in name or name.startswith("heads.")
        assert parameter.requires_grad is expected, name
    trainable = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    assert f"{trainable:,} of " in sentences[0]
    assert "Adapters (LoRA) of rank 2 in stem, stage1, stage2, stage3, stage4, merged" in sentences[1]


def test_a_frozen_stage_gets_no_adapters_and_a_stage_without_trains_whole(build: Any) -> None:
    classifier = build(3)
    lora = LoraSettings(rank=2, stages=("stem", "stage1", "stage2"))
    begin(classifier, FinetuneSettings(frozen=("stem", "stage1"), thaw={"stage1": 2}, lora=lora, norms="frozen"), 5)
    adapted = {n.split(".lora_")[0] for n, _ in classifier.named_parameters() if ".lora_" in n}
    assert {name.rpartition(".0.")[0] for name in adapted} == {"backbone.stages.0", "backbone.stages.1"}
    for name, parameter in classifier.named_parameters():
        whole = name.startswith(("backbone.stages.2.", "backbone.stages.3.", "heads.")) and "norm" not in name
        assert parameter.requires_grad is (whole or ".lora_" in name), name


def test_a_network_of_slices_is_adapted_and_its_new_attention_trains_whole(build: Any) -> None:
    classifier, plain = (build(3, kind="slices").eval() for _ in range(2))
    lora = LoraSettings(rank=2, stages=("stem", "stage1", "stage2", "stage3", "stage4"))
    begin(classifier, FinetuneSettings(lora=lora, layer_decay=0.5), 5)
    attention = classifier.backbone.named_stages()["attention"]
    assert all(parameter.requires_grad for parameter in attention.parameters())
    assert not classifier.backbone.encoder.stem.conv.base_layer.weight.requires_grad
    stir(classifier)
    plain.load_state_dict(merged(classifier.state_dict(), lora))
    torch.testing.assert_close(plain(images(3)), classifier(images(3)), atol=1e-5, rtol=1e-5)


def test_grouped_convolutions_are_told(build: Any) -> None:
    settings = FinetuneSettings(lora=LoraSettings(rank=2))
    sentences = begin(build(3, **NETWORKS["grouped"]), settings, 5)
    assert any("Without adapter" in text and "backbone.stages.3.0.conv2" in text for text in sentences)


def test_a_dilated_convolution_is_left_out(build: Any) -> None:
    classifier = build(2)
    classifier.backbone.stages[0][0].conv1 = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
    assert adapt(classifier, LoraSettings(rank=2)) == ("backbone.stages.0.0.conv1",)


def test_a_weight_that_is_not_finite_is_never_packed(build: Any) -> None:
    classifier = build(2)
    adapt(classifier, LoraSettings(rank=2))
    stir(classifier)
    state = classifier.state_dict()
    state["backbone.stem.conv.lora_A.default.weight"].fill_(float("inf"))
    with pytest.raises(TrainingError, match=r"backbone\.stem\.conv\.weight is not finite"):
        merged(state, LoraSettings(rank=2))


def test_without_adapters_a_state_stays_as_it_is(build: Any) -> None:
    state = build().state_dict()
    assert merged(state, LoraSettings()) == state


def test_a_missing_peft_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"resdx\[lora\]"):
        check_installed(LoraSettings(rank=2))
    check_installed(LoraSettings())
