"""Networks whose gradients really vanish or explode are told, by stage; healthy ones are not."""

import math
from typing import Any

import pytest
import torch
from phantoms.trainings import network
from torch import nn

from pipeline.networks.classifier import Classifier
from pipeline.training.settings import TrainingSettings
from pipeline.training.watch.measures import DepthRecord, StepMeasure
from pipeline.training.watch.places import places_of
from pipeline.training.watch.symptoms import Watchman, symptoms

SETTINGS = TrainingSettings(learning_rate=2e-3, warmup_epochs=3)


def steps(classifier: Classifier, count: int, settings: TrainingSettings = SETTINGS, cases: int = 8) -> Watchman:
    """Train on noise with a bright corner, measuring every step; gradients are clipped as by default."""
    generator = torch.Generator().manual_seed(0)
    watchman, places = Watchman(classifier, settings), places_of(classifier)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=settings.learning_rate)
    for step in range(1, count + 1):
        images, labels = torch.randn(cases, 1, 16, 16, generator=generator), torch.arange(cases) % 2
        images[labels > 0, :, :6, :6] += 1
        logits = classifier(images)
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float()) + logits[:, 1:].square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        measure = StepMeasure(step, places, {})
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimizer.step()
        watchman.look(measure.finish(stepped=True))
    return watchman


def shrunk(classifier: Classifier, factor: float) -> Classifier:
    for module in classifier.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_(factor)
    return classifier


def test_a_plain_network_of_small_weights_vanishes() -> None:
    watchman = steps(shrunk(network(depth=20, residual=False, norm="none"), 0.3), 3)
    assert watchman.stages == {"vanishing": ["stem", "stage1", "stage2"], "exploding": []}
    (message,) = watchman.told
    assert message.startswith("Gradients vanish in stem, stage1, stage2 (step 2). stem: ")
    assert "network.backbone.residual=true, network.backbone.norm=batch" in message
    assert "training.warmup_epochs than 3" in message and "training.learning_rate than 0.002" in message
    assert "preactivation" not in message


def test_residual_branches_without_a_norm_explode() -> None:
    """He weights double the variance with every block; where nothing divides it, the loss itself is huge."""
    watchman = steps(network(depth=110, norm="none", zero_init=False), 1)
    assert watchman.stages == {"vanishing": [], "exploding": ["stem", "stage1", "stage2", "stage3"]}
    (message,) = watchman.told
    assert "network.backbone.norm=batch" in message and "network.backbone.preactivation=true" in message
    assert "residual=true" not in message and "gradient_clip" not in message


def test_a_deep_plain_network_explodes_towards_the_image_in_spite_of_batch_norm() -> None:
    watchman = steps(network(depth=110, residual=False), 1)
    assert watchman.stages["exploding"][0] == "stem"
    assert "times its weights" in watchman.told[0] and "network.backbone.residual=true" in watchman.told[0]
    assert "norm=" not in watchman.told[0]


@pytest.mark.parametrize(
    "backbone",
    [
        {"depth": 18},
        {"depth": 18, "norm": "group"},
        {"depth": 110},
        {"depth": 110, "zero_init": False},
        {"depth": 56, "preactivation": True},
        {"depth": 20, "residual": False},
    ],
    ids=lambda backbone: " ".join(f"{name}={value}" for name, value in backbone.items()),
)
def test_healthy_networks_are_left_in_peace(backbone: dict[str, Any]) -> None:
    assert steps(network(**backbone), 3).told == []


def record(step: int = 1, **gradient: float) -> DepthRecord:
    names = {name: name for name in gradient}
    return DepthRecord(step=step, stages=names, gradient=gradient, weight=dict.fromkeys(gradient, 10.0))


@pytest.mark.parametrize(
    ("gradients", "found"),
    [
        ({"stem": 0.0021, "stage1": 2.0, "stage2": 0.1}, []),
        ({"stem": 0.0019, "stage1": 2.0, "stage2": 0.1}, [("stem", "vanishing", False)]),
        ({"stem": 99.0, "stage1": 2.0, "stage2": 0.1}, []),
        ({"stem": 101.0, "stage1": 2.0, "stage2": 0.1}, [("stem", "exploding", False)]),
        ({"stem": 999.0, "stage1": 500.0, "stage2": 500.0}, []),
        ({"stem": 1001.0, "stage1": 500.0, "stage2": 500.0}, [("stem", "exploding", True)]),
        ({"stem": 1.0, "stage1": math.inf, "stage2": 1.0}, [("stage1", "exploding", True)]),
        ({"stem": math.nan, "stage1": 1.0}, [("stem", "exploding", True)]),
        ({"stem": 0.0, "stage1": 0.0, "heads": 0.1}, [("stem", "vanishing", False), ("stage1", "vanishing", False)]),
        ({"stem": 0.0, "stage1": 0.0, "heads": 0.0}, []),
        ({"stem": 1e-9, "stage1": 1e-9, "heads": 1e-9}, []),
        ({"heads": 1e9}, []),
        ({"stem": 1.0, "stage1": 1.0, "attention": 0.0}, []),
        ({"stem": 1.0, "stage1": 1.0, "attention": 1e-6}, []),
    ],
)  # fmt: skip
def test_thresholds(gradients: dict[str, float], found: list[tuple[str, str, bool]]) -> None:
    shown = [(symptom.stage, symptom.kind, symptom.certain) for symptom in symptoms(record(**gradients))]
    assert shown == found


def test_each_stage_and_kind_is_told_once_and_relations_when_they_last() -> None:
    watchman = Watchman(network(), SETTINGS)
    bad, good = record(stem=1e-5, stage1=1.0), record(stem=1.0, stage1=1.0)
    told = [len(watchman.look(shown)) for shown in (bad, good, bad, bad, bad)]
    assert told == [0, 0, 0, 1, 0]
    assert watchman.look(record(stem=1e5, stage1=1.0))[0].startswith("Gradients explode in stem")
    resumed = Watchman(network(), SETTINGS)
    resumed.restore(watchman.state())
    assert resumed.told == watchman.told
    assert resumed.look(bad) == resumed.look(bad) == ()


def test_a_scaler_may_overflow_once_while_it_looks_for_its_scale() -> None:
    watchman = Watchman(network(), SETTINGS, scaled=True)
    broken = record(stem=1.0, stage1=math.inf)
    assert watchman.look(broken) == ()
    assert "stage1: the gradient is not finite" in watchman.look(broken)[0]


def test_clipping_is_advised_where_it_is_off() -> None:
    watchman = Watchman(network(), SETTINGS.model_copy(update={"gradient_clip": 0.0}))
    assert "training.gradient_clip=1" in watchman.look(record(stem=1e9, stage1=1.0))[0]
