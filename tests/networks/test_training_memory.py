"""Memory of a training step, counted: closed forms, and what settings of the network do to it."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.networks.settings import NetworkSettings
from pipeline.networks.training_memory import BYTES_OF_PARAMETER, kept_bytes, memory_of

FLOAT = 4


def counted(size: tuple[int, ...] = (32, 32), channels: int = 1, **backbone: Any) -> int:
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "stem": "small"} | backbone})
    return memory_of(settings, 18, size, None, channels).of_case


def test_maps_that_a_backward_pass_needs_are_counted_once() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False))
    voxels = 10 * 12
    kept = (2 + 8) * voxels  # the images, and what relu gives, which the second convolution takes; not what comes out
    assert kept_bytes(network, (2, 10, 12)) == FLOAT * (kept + 2 * 8 * voxels)


def test_weights_count_once_a_batch_and_not_with_each_case() -> None:
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 18}})
    parameters = sum(p.numel() for p in settings.resolved(18, (32, 32), None).backbone.build(2, 3).parameters())  # type: ignore[attr-defined]
    found = memory_of(settings, 34, (32, 32), None, 3)
    assert found.fixed == BYTES_OF_PARAMETER * parameters
    assert found.network == "resnet depth 18 width 64"


def test_depth_width_size_and_stem_of_the_network_count() -> None:
    plain = counted(depth=18, width=16)
    assert counted(depth=18, width=32) == pytest.approx(2 * plain, rel=0.02)
    assert counted((64, 64), depth=18, width=16) == pytest.approx(4 * plain, rel=0.02)
    assert counted(depth=110, width=16) == pytest.approx(6 * counted(depth=20, width=16), rel=0.2)
    assert counted(depth=18, width=16, stem="large") < plain / 4
    assert counted(depth=34, width=16, checkpointing=True) < counted(depth=34, width=16) / 2
    assert counted(depth="auto", width=16) == plain  # 18 layers, of the plan


def test_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    counted(depth=10)
    assert torch.equal(torch.get_rng_state(), state)
