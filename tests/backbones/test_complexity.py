"""Parameters and multiply-adds against the published ones, and against closed forms."""

import pytest
import torch
from torch import nn

from pipeline.backbones.complexity import count_multiply_adds, count_parameters
from pipeline.backbones.resnet import Config

PUBLISHED = {
    18: (11.69e6, 1.81e9),
    34: (21.80e6, 3.66e9),
    50: (25.56e6, 4.09e9),
    101: (44.55e6, 7.80e9),
    152: (60.19e6, 11.51e9),
}
"""With 1,000 classes at 224 pixels, stride in the 3x3 (the tables of torchvision)."""


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_named_networks_have_the_published_size_and_cost(depth: int) -> None:
    backbone = Config(depth=depth, stem="large").build(2, 3)
    network = nn.Sequential(backbone, nn.Linear(backbone.features, 1000))
    parameters, multiply_adds = PUBLISHED[depth]
    assert count_parameters(network) == pytest.approx(parameters, rel=0.001)
    assert count_multiply_adds(network, (3, 224, 224)) == pytest.approx(multiply_adds, rel=0.005)


def test_closed_forms() -> None:
    plain = nn.Conv2d(3, 8, 5, stride=2, padding=2)
    assert count_multiply_adds(plain, (3, 9, 12)) == 5 * 6 * 8 * 25 * 3
    grouped = nn.Conv3d(6, 4, (1, 3, 3), groups=2, padding=(0, 1, 1))
    assert count_multiply_adds(grouped, (6, 4, 5, 6)) == 4 * 5 * 6 * 4 * 9 * 3
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 2))
    assert count_multiply_adds(linear, (3, 4)) == 12 * 7 + 7 * 2
    assert count_parameters(linear) == 12 * 7 + 7 + 7 * 2 + 2


def test_a_shared_layer_counts_each_time_it_is_passed() -> None:
    layer = nn.Linear(5, 5)
    assert count_multiply_adds(nn.Sequential(layer, layer), (5,)) == 50
    assert count_parameters(nn.Sequential(layer, layer)) == 30


def test_the_network_is_left_as_it_was() -> None:
    network = Config(depth=8, stages=3).build(2, 1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_multiply_adds(network, (1, 20, 20))
    assert network.training and not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_twins_differ_by_their_projections_alone() -> None:
    def cost(**settings: object) -> int:
        return count_multiply_adds(
            Config.model_validate({"depth": 20, "shortcut": "A"} | settings).build(2, 1), (1, 28, 28)
        )

    assert cost(residual=True) == cost(residual=False)
    projections = 14 * 14 * 32 * 16 + 7 * 7 * 64 * 32
    assert cost(shortcut="B") == cost() + projections
