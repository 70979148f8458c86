"""A cell of a feature map lies where the network looks from: impulses through our own layers say where that is."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.backbones.residual import ResidualNetwork
from pipeline.backbones.resnet import Config
from pipeline.backbones.slices import Config as SlicesConfig
from pipeline.explanations.alignment import onto_image, stride_of

NETWORKS: dict[str, dict[str, object]] = {
    "small stem": {"stem": "small"},
    "medium stem": {"stem": "medium"},
    "large stem with pooling": {"stem": "large", "depth": 10},
    "deep stem": {"stem": "deep", "depth": 10},
    "bottleneck": {"depth": 29, "stem": "medium"},
    "pre-activation": {"depth": 14, "stages": 3, "preactivation": True, "shortcut": "A"},
    "anti-aliased": {"antialias": True, "stem": "large", "depth": 10},
    "anisotropic": {"stem": "medium", "strides": True},
}
STRIDES = ((2, 1, 2), (1, 2, 2), (2, 2, 1))


POOLS = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


def blurring(config: Config, ndim: int) -> ResidualNetwork:
    """The network with every weight positive and alike, so that a cell sees its field of view with even weights."""
    network = config.build(ndim, 1).eval()
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            if type(child) in POOLS:  # the gradient of a maximum goes to one of equals, not to their middle
                setattr(layer, name, POOLS[type(child)](child.kernel_size, child.stride, child.padding))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                module.weight.fill_(1 / module.weight[0].numel())
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.weight.fill_(1.0)  # zero_init would leave the shortcut alone
    return network


@pytest.mark.parametrize(("ndim", "name"), [*((2, name) for name in NETWORKS), (3, "medium stem"), (3, "anisotropic")])
def test_a_cell_looks_from_a_multiple_of_the_stride(ndim: int, name: str) -> None:
    options = dict(NETWORKS[name])
    if "strides" in options:
        options["strides"] = tuple(stride[:ndim] for stride in STRIDES)
    size = (160, 151) if ndim == 2 else (64, 61, 56)
    network = blurring(Config.model_validate({"depth": 8, "width": 4} | options), ndim)
    image = torch.ones((1, 1, *size), requires_grad=True)
    judged = 0
    for stage, found in network.forward_stages(image).items():
        cells = found.shape[2:]
        middle = tuple(count // 2 for count in cells)
        (seen,) = torch.autograd.grad(found[(0, 0, *middle)], image, retain_graph=True)
        for axis, (cell, voxels, count) in enumerate(zip(middle, size, cells, strict=True)):
            weights = seen[0, 0].sum(dim=tuple(other for other in range(ndim) if other != axis)).double()
            if weights[0] or weights[-1]:
                continue  # the image ends within the field of view of this cell
            looked_from = float((weights * torch.arange(voxels)).sum() / weights.sum())
            assert abs(looked_from - cell * stride_of(voxels, count)) < 0.01, (stage, axis)
            judged += stride_of(voxels, count) > 1
    assert judged >= ndim


@pytest.mark.parametrize("voxels", range(1, 40))
def test_the_stride_follows_from_the_sizes(voxels: int) -> None:
    cells, stride = voxels, 1
    while cells > 1:
        assert stride_of(voxels, cells) == stride
        cells, stride = -(-cells // 2), stride * 2
    assert stride_of(voxels, 1) <= stride


def test_a_map_that_is_no_halving_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="no halvings"):
        stride_of(9, 4)


def test_each_cell_keeps_its_value_at_its_centre_and_lines_stay_lines() -> None:
    cells = np.add.outer(np.arange(5) * 8.0, np.arange(4) * 10.0).astype(np.float32)
    out = onto_image(cells, (18, 7))  # strides 4 and 2

    np.testing.assert_array_equal(out[::4, ::2], cells)
    inside = np.add.outer(np.arange(17) * 2.0, np.arange(7) * 5.0)
    np.testing.assert_allclose(out[:17], inside, atol=1e-5)
    np.testing.assert_array_equal(out[17], out[16])  # beyond the last centre


def test_torchs_corner_alignment_agrees_where_the_centres_are_the_corners() -> None:
    cells = torch.randn((1, 1, 4, 5, 3), dtype=torch.float64)
    size = (13, 9, 3)
    expected = nn.functional.interpolate(cells, size, mode="trilinear", align_corners=True)

    np.testing.assert_allclose(onto_image(cells[0, 0].numpy(), size), expected[0, 0].numpy(), atol=1e-6)


def test_a_slice_network_keeps_its_slices() -> None:
    network = SlicesConfig(depth=8, width=4, axis=1).build(3, 1)
    maps = network.forward_features(torch.zeros((1, 1, 17, 5, 12)))

    assert [stride_of(n, m) for n, m in zip((17, 5, 12), maps.shape[2:], strict=True)] == [4, 1, 4]
