"""Layers that are computed in another way compute the same, under the same names."""

import copy
import io
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.backbones.resnet import Config
from pipeline.networks.layout import lay_out
from pipeline.networks.rerouting import Rerouted, Subsampled, Unfolded, reroute_faulty_kernels, unfold_small_maps

TRAIN = """
import torch
from pipeline.backbones.resnet import Config
from pipeline.networks.layout import lay_out

torch.set_num_threads(2)
network = Config(depth=10, width=8, shortcut="B").build(2, 1)
lay_out(network, torch.channels_last)
images = torch.randn(31, 1, 28, 28).contiguous(memory_format=torch.channels_last)
for _ in range(5):
    network(images).square().sum().backward()
    kept = [torch.randn(7) for _ in range(200)]  # what the allocator hands out shows damage that was done
"""


def test_a_narrow_network_with_channels_last_survives_an_odd_batch_on_two_threads() -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("stride", "bias", "groups"), [(2, False, 1), ((1, 3), True, 1), (2, True, 4)])
def test_a_subsampled_convolution_gives_the_same_values_and_gradients(stride: int, bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 16, 1, stride=stride, bias=bias, groups=groups).double()
    rerouted = copy.deepcopy(plain)
    reroute_faulty_kernels(rerouted)
    assert Subsampled.covers(rerouted)
    images = [torch.randn(4, 8, 7, 9, dtype=torch.float64, requires_grad=True) for _ in range(1)] * 2
    for convolution, x in zip((plain, rerouted), images, strict=True):
        out = convolution(x)
        out.square().sum().backward()
    assert torch.equal(plain(images[0]), rerouted(images[0]))
    ours, theirs = dict(rerouted.named_parameters()), dict(plain.named_parameters())
    for name in theirs:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad)


def test_only_strided_pointwise_convolutions_of_few_channels_are_rerouted() -> None:
    faulty = nn.Conv2d(15, 8, 1, stride=2)
    others = (
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Conv2d(8, 8, 1, stride=2, padding=1),
        nn.Conv3d(8, 8, 1, stride=2),
    )
    reroute_faulty_kernels(nn.ModuleList([faulty, *others]))
    assert Subsampled.covers(faulty)
    assert not any("forward" in other.__dict__ for other in others)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "bias"),
    [(3, 1, 1, False), (3, 2, 1, True), ((1, 2, 3), (1, 2, 1), (0, 1, 1), True)],
)
def test_small_maps_in_bfloat16_have_the_values_and_gradients_of_float64(
    kernel: Any, stride: Any, padding: Any, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv3d(256, 64, kernel, stride=stride, padding=padding, bias=bias)
    exact = copy.deepcopy(layer).double()
    unfold_small_maps(layer)
    assert Unfolded.covers(layer)
    x = torch.randn(32, 256, 2, 2, 2)
    wide, narrow = x.double().requires_grad_(), x.clone().requires_grad_()
    exact(wide).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(narrow)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    pairs = [(out, exact(wide)), (narrow.grad, wide.grad)]
    pairs += [(ours.grad, theirs.grad) for ours, theirs in zip(layer.parameters(), exact.parameters(), strict=True)]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 0.02


def test_large_maps_and_float32_are_convolved_as_ever() -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(4, 4, 3, padding=1)
    layer = copy.deepcopy(plain)
    unfold_small_maps(layer)
    small, large = torch.randn(2, 4, 2, 2, 2), torch.randn(2, 4, 5, 5, 5)
    assert torch.equal(layer(small), plain(small))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(large), plain(large))


def test_only_3d_convolutions_that_a_product_can_stand_for_are_unfolded() -> None:
    others = nn.ModuleList(
        [
            nn.Conv3d(8, 8, 1),
            nn.Conv3d(8, 8, 3, groups=2),
            nn.Conv3d(8, 8, 3, dilation=2),
            nn.Conv3d(8, 8, 3, padding="same"),
            nn.Conv3d(8, 8, 3, padding=1, padding_mode="reflect"),
            nn.Conv2d(8, 8, 3),
        ]
    )
    unfold_small_maps(others)
    assert not any("forward" in other.__dict__ for other in others)


def test_a_rerouted_network_keeps_its_names_and_copies_are_rerouted_with_weights_of_their_own() -> None:
    network = Config(depth=10, width=8, shortcut="B").build(2, 1).eval()
    names = list(network.state_dict())
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        expected = network(images)
        lay_out(network, torch.channels_last)
        lay_out(network, torch.channels_last)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    for copied in (copy.deepcopy(network), torch.load(file, weights_only=False)):
        assert list(copied.state_dict()) == names
        (found,) = [module for module in copied.modules() if Subsampled.covers(module)]
        assert found.forward.module is found
        assert found.forward.before is None  # once is enough
        torch.testing.assert_close(copied(images), expected)
        with torch.no_grad():
            found.weight.zero_()
            assert not torch.allclose(copied(images), expected)
    torch.testing.assert_close(network(images), expected)


def test_detours_lie_one_over_the_other() -> None:
    class Doubled(Rerouted):
        def __call__(self, *args: torch.Tensor) -> torch.Tensor:
            return 2 * super().__call__(*args)

    layer = nn.Linear(2, 2)
    x = torch.randn(3, 2)
    expected = layer(x)
    assert Doubled(layer).before is None
    assert Doubled(layer).before is not None
    torch.testing.assert_close(layer(x), 4 * expected)
    assert Doubled.covers(layer)
    assert not Subsampled.covers(layer)
