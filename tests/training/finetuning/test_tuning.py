"""What trains when, in which mode, at which rate; mistakes are named."""

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD

from pipeline.errors import ConfigError
from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.account import count
from pipeline.training.finetuning.beginning import begin
from pipeline.training.finetuning.rates import parameter_groups, stage_of_group, stage_rates
from pipeline.training.finetuning.settings import FinetuneSettings
from pipeline.training.finetuning.thawing import Thawing
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.losses import FindingsLoss
from pipeline.training.precision import prove
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainingSettings

STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


def tuned(classifier: Classifier, epochs: int = 10, **settings: object) -> Tuning:
    chosen = FinetuneSettings.from_mapping(settings)
    begin(classifier, chosen, epochs)
    return Tuning(chosen, classifier, epochs)


def images(ndim: int = 3, cases: int = 4) -> Tensor:
    return torch.randn(cases, 1, *(12,) * ndim, generator=torch.Generator().manual_seed(1))


def statistics(classifier: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in classifier.named_buffers()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": ["stem"], "thaw": {"stage1": 2}}, "thaw names stage1, which `frozen` does not"),
        ({"frozen": ["stem", "stem"]}, "frozen: names a stage twice"),
        ({"frozen": ["stem"], "thaw": {"stem": 0}}, "thaw.stem"),
        ({"layer_decay": 0}, "layer_decay"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FinetuneSettings.from_mapping(settings)


def test_an_unknown_stage_is_named_with_those_there_are(build) -> None:
    with pytest.raises(ConfigError) as error:
        tuned(build(), frozen=["stem", "stage5"], lora={"rank": 2, "stages": ["layer1"]})
    for text in ("2 mistakes", "'stage5'", "'layer1'", "it has stem, stage1, stage2, stage3, stage4"):
        assert text in str(error.value)


def test_fixed_statistics_of_a_network_that_keeps_none_are_refused(build) -> None:
    with pytest.raises(ConfigError, match="no norm that keeps running statistics"):
        tuned(build(norm="group"), norms="fixed_statistics")
    with pytest.raises(ConfigError, match="norms: frozen, and this network has no norm"):
        tuned(build(norm="none"), norms="frozen")


def test_a_frozen_stage_is_a_fixed_function_until_it_thaws(build) -> None:
    classifier = build(dropout=0.1, stochastic_depth=0.3).train()
    tuning = tuned(classifier, frozen=["stem", "stage1"], thaw={"stage1": 3})
    stem, stage1 = (classifier.backbone.named_stages()[name] for name in ("stem", "stage1"))
    for epoch, frozen in [(0, {"stem", "stage1"}), (2, {"stem", "stage1"}), (3, {"stem"}), (9, {"stem"})]:
        tuning.apply(classifier, epoch)
        classifier.train(False).train()  # as Lightning does around each validation
        named = classifier.backbone.named_stages()
        for name, stage in named.items():
            assert all(parameter.requires_grad is (name not in frozen) for parameter in stage.parameters())
            assert all(module.training is (name not in frozen) for module in stage.modules())
        assert all(parameter.requires_grad for parameter in classifier.heads.parameters())
        before = statistics(stem) | {f"stage1.{name}": value for name, value in statistics(stage1).items()}
        classifier(images()).sum().backward()
        after = statistics(stem) | {f"stage1.{name}": value for name, value in statistics(stage1).items()}
        moved = {
            "stage1" if name.startswith("stage1.") else "stem" for name in after if not after[name].equal(before[name])
        }
        assert moved == {"stem", "stage1"} - frozen


def test_nothing_set_leaves_a_classifier_as_it_is(build) -> None:
    classifier = build()
    assert begin(classifier, FinetuneSettings(), 5) == ()
    assert classifier.still == ()
    groups = parameter_groups(classifier, Tuning(FinetuneSettings(), classifier, 5), 0.1, 0.01)
    parameters = list(classifier.parameters())
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]
    assert [set(group) for group in groups] == [{"params", "weight_decay"}] * 2
    assert [list(map(id, group["params"])) for group in groups] == [
        [id(p) for p in parameters if p.ndim > 1],
        [id(p) for p in parameters if p.ndim <= 1],
    ]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("norms", "affine"), [("fixed_statistics", True), ("frozen", False)])
def test_norms_use_the_statistics_that_were_loaded(build, norms: str, affine: bool, checkpointing: bool) -> None:
    classifier = build(checkpointing=checkpointing)
    evaluated = classifier.eval()(images())
    tuned(classifier, norms=norms)
    before = statistics(classifier)
    classifier.train()
    found = classifier(images())
    found.square().sum().backward()
    torch.testing.assert_close(found, evaluated)  # no dropout here: training computes what evaluation does
    assert all(value.equal(before[name]) for name, value in statistics(classifier).items())
    trains = {name: parameter.grad is not None for name, parameter in classifier.named_parameters()}
    assert {value for name, value in trains.items() if "norm" in name} == {affine}
    assert all(value for name, value in trains.items() if "norm" not in name)


def test_scale_and_offset_of_a_group_norm_can_be_frozen(build) -> None:
    classifier = build(norm="group")
    tuned(classifier, norms="frozen")
    assert {parameter.requires_grad for name, parameter in classifier.named_parameters() if "norm" in name} == {False}


def test_rates_fall_by_stage_and_norms_do_not_decay(build) -> None:
    classifier = build()
    tuning = tuned(classifier, layer_decay=0.5, frozen=["stem", "stage1"], thaw={"stage1": 3})
    groups = parameter_groups(classifier, tuning, learning_rate=0.8, weight_decay=0.05)
    rates = {name: group["lr"] for group in groups if (name := stage_of_group(group))}
    assert rates == {"heads": 0.8, "stage4": 0.4, "stage3": 0.2, "stage2": 0.1, "stage1": 0.05}
    assert stage_of_group(groups[0]) == "heads"
    stage_parameters = {
        name: set(map(id, stage.parameters())) for name, stage in classifier.backbone.named_stages().items()
    }
    stage_parameters["heads"] = set(map(id, classifier.heads.parameters()))
    for group in groups:
        assert set(map(id, group["params"])) <= stage_parameters[stage_of_group(group)]
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    counted = [id(parameter) for group in groups for parameter in group["params"]]
    stem = stage_parameters["stem"]
    assert sorted(counted) == sorted(id(p) for p in classifier.parameters() if id(p) not in stem)
    last = [group["lr"] for group in groups]
    assert stage_rates(groups, last) == {f"learning_rate/{stage}": rate for stage, rate in rates.items()}


def test_the_rate_of_what_thaws_rises_from_its_first_step() -> None:
    plain, thawed = WarmupCosine(4, 40, 0.1), WarmupCosine(4, 40, 0.1, start=20)
    assert [thawed(step) for step in range(20)] == [0.0] * 20
    assert [thawed(20 + step) for step in range(2)] == [0.25, 0.5]
    assert [thawed(step) for step in range(24, 40)] == [plain(step) for step in range(24, 40)]
    assert WarmupCosine(0, 40, 0.1, start=20)(20) == WarmupCosine(0, 40, 0.1)(20)
    assert WarmupCosine(4, 40, 0.1, start=2)(2) == 0.25


def test_precision_is_proven_with_still_layers_and_on_what_thaws_later(build) -> None:
    classifier = build()
    tuned(classifier, frozen=["stem", "stage1"], thaw={"stage1": 3}, norms="fixed_statistics")
    copied = copy.deepcopy(classifier).train()  # what a proof runs
    assert not any(layer.training for layer in copied.modules() if isinstance(layer, nn.BatchNorm3d))
    before, loss = copy.deepcopy(classifier.state_dict()), FindingsLoss(classifier.findings)
    labels = torch.tensor([[0, 0], [1, 1], [1, 2], [0, 0]])
    trials = prove(
        [("32", "contiguous"), ("32", "channels_last")], classifier, loss, images(), labels, torch.device("cpu")
    )
    assert [trial.problem for trial in trials] == ["", ""]
    assert trials[1].gradient_error < 1e-3
    assert all(value.equal(before[name]) for name, value in classifier.state_dict().items())
    stage1 = classifier.backbone.named_stages()["stage1"]
    assert all(parameter.requires_grad for parameter in stage1.parameters())


def test_what_stands_still_has_no_gradient_at_the_step_of_joined_processes(build) -> None:
    """They compute it all the same: they are joined before the thaw."""
    classifier = build()
    tuning = tuned(classifier, frozen=["stem", "stage1"], thaw={"stage1": 3})
    callback, module, optimizer = Thawing(tuning, classifier), pl.LightningModule(), SGD(classifier.parameters())
    joined: Any = SimpleNamespace(world_size=2, current_epoch=0, is_global_zero=True)
    callback.setup(joined, module, "fit")
    named = dict(classifier.named_parameters())
    for epoch, still in [(0, ("backbone.stem.", "backbone.stages.0.")), (3, ("backbone.stem.",))]:
        joined.current_epoch = epoch
        callback.on_train_epoch_start(joined, module)
        assert {n for n, p in named.items() if not p.requires_grad} == {
            n for n in named if n.startswith("backbone.stem.")
        }
        classifier(images()).sum().backward()
        callback.on_before_optimizer_step(joined, module, optimizer)
        assert {n for n, p in named.items() if p.grad is None} == {n for n in named if n.startswith(still)}
        assert not classifier.backbone.stages[0].training or epoch == 3


def test_strategies_that_shard_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"finetune needs strategy: auto or ddp"):
        TrainingSettings.from_mapping({"strategy": "fsdp", "finetune": {"frozen": ["stem"]}})
    assert TrainingSettings.from_mapping({"strategy": "fsdp"}).strategy == "fsdp"


def test_the_share_is_told_in_words(build) -> None:
    classifier = build()
    settings = FinetuneSettings(frozen=("stem", "stage1"), thaw={"stage1": 3}, layer_decay=0.7)
    sentences = begin(classifier, settings, 10)
    sizes = {
        name: sum(p.numel() for p in stage.parameters()) for name, stage in classifier.backbone.named_stages().items()
    }
    total = sum(p.numel() for p in classifier.parameters())
    first = total - sizes["stem"] - sizes["stage1"]
    assert f"{first:,} of {total:,} parameters train ({first / total:.2%})" in sentences[0]
    assert f"after the last thaw {total - sizes['stem']:,}" in sentences[0]
    assert "stem, stage1 (to the end of epoch 3)" in sentences[1]
    assert count(classifier, Tuning(settings, classifier, 10), 3).trainable == total - sizes["stem"]
    assert math.isclose(count(classifier, Tuning(settings, classifier, 10), 0).trainable, first)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({"layer_decay": 0.5}, (False, False)), ({"lora": {"rank": 2}}, (True, False))],
    ids=["rates", "adapters"],
)
def test_only_what_stands_still_is_judged_fresh(
    build, caplog: pytest.LogCaptureFixture, settings: dict[str, object], warned: tuple[bool, bool]
) -> None:
    """Rates by layer hold nothing still; the weights beside adapters stand still and must have been loaded."""
    loaded, fresh = build(), build()
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_running_stats()
    for classifier, expected in zip((fresh, loaded), warned, strict=True):
        caplog.clear()
        tuned(classifier, **settings)
        assert any("fresh network" in record.getMessage() for record in caplog.records) is expected


def test_freezing_fresh_weights_is_warned_of(build, caplog: pytest.LogCaptureFixture) -> None:
    classifier = build()
    begin(classifier, FinetuneSettings(frozen=("stem",)), 4)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    for name, buffer in classifier.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.fill_(float(name.endswith("var")))
    begin(classifier, FinetuneSettings(frozen=("stem",), thaw={"stem": 4}), 4)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("fresh network" in text for text in warnings)
    assert any("stem would thaw after the last of 4 epochs" in text for text in warnings)
