"""Every member of the family: parameters of the papers and of timm's tables, closed forms of each option."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.blocks import Block
from pipeline.backbones.downsampling import BlurPool
from pipeline.backbones.residual import ResidualNetwork
from pipeline.backbones.resnet import Config
from pipeline.backbones.shortcuts import ZeroPaddedIdentity
from pipeline.backbones.squeeze_excitation import SqueezeExcitation


def build(ndim: int = 2, channels: int = 1, **settings: object) -> ResidualNetwork:
    return Config.from_mapping({"width": 8, **settings}).build(ndim, channels)


def trained_a_little(network: nn.Module) -> nn.Module:
    """No weight at a special value, so that every option has an effect."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.3, 0.7)
    return network


@pytest.mark.parametrize(
    ("classes", "settings", "millions"),
    [
        (1000, {"depth": 50, "groups": 32, "group_width": 4}, 25.03),  # ResNeXt-50 32x4d
        (1000, {"depth": 101, "groups": 32, "group_width": 8}, 88.79),  # ResNeXt-101 32x8d
        (1000, {"depth": 50, "group_width": 128}, 68.88),  # wide ResNet-50-2
        (1000, {"depth": 50, "stem": "deep", "average_shortcut": True}, 25.58),  # ResNet-50-D
        (1000, {"depth": 50, "squeeze_excitation": 16}, 28.09),  # SE-ResNet-50
        (1000, {"depth": 50, "antialias": True}, 25.56),  # blur has no parameters
        (1000, {"depth": 200}, 64.67),
        (10, {"depth": 20, "shortcut": "A", "width": "auto", "stem": "small"}, 0.27),
        (10, {"depth": 56, "shortcut": "A", "width": "auto", "stem": "small"}, 0.85),
        (10, {"depth": 110, "shortcut": "A", "width": "auto", "stem": "small"}, 1.73),
        (10, {"depth": 1202, "shortcut": "A", "width": "auto", "stem": "small"}, 19.42),
        (10, {"depth": 164, "block": "bottleneck", "preactivation": True, "width": 16, "stem": "small"}, 1.70),
        (10, {"depth": 1001, "preactivation": True, "width": 16, "stem": "small"}, 10.33),
        (10, {"depth": 26, "stages": 3, "preactivation": True, "width": 16, "widen": 10, "stem": "small"}, 36.48),
    ],
    ids=lambda value: "" if not isinstance(value, dict) else "-".join(f"{k}={v}" for k, v in value.items()),
)
def test_parameters_are_the_published_ones(classes: int, settings: dict[str, object], millions: float) -> None:
    with torch.device("meta"):
        backbone = build(2, 3, **({"width": 64, "stem": "large"} | settings))
    weights = sum(parameter.numel() for parameter in backbone.parameters()) + (backbone.features + 1) * classes
    assert weights / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("option", ["A", "B", "C"])
@pytest.mark.parametrize("depth", [18, 50])
def test_shortcuts(option: str, depth: int) -> None:
    kinds = [
        type(module.shortcut) for module in build(depth=depth, shortcut=option).modules() if isinstance(module, Block)
    ]
    changes = 4 if depth == 50 else 3  # bottlenecks widen in the first stage too
    expected = {
        "A": {nn.Identity: len(kinds) - changes, ZeroPaddedIdentity: changes},
        "B": {nn.Identity: len(kinds) - changes, nn.Sequential: changes},
        "C": {nn.Sequential: len(kinds)},
    }[option]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == expected


def test_zero_padded_identity_keeps_every_second_voxel() -> None:
    x = torch.arange(2 * 3 * 4 * 5 * 5.0).reshape(2, 3, 4, 5, 5)
    out = ZeroPaddedIdentity((1, 2, 2), 2)(x)
    assert out.shape == (2, 5, 4, 3, 3)
    assert torch.equal(out[:, :3], x[:, :, :, ::2, ::2])
    assert not out[:, 3:].any()


def test_average_shortcut_joins_the_voxels_of_a_stride() -> None:
    block = build(depth=18, average_shortcut=True).eval().stages[1][0]
    x = torch.randn(1, 8, 5, 4)
    means = torch.stack(
        [
            torch.stack([x[0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for j in range(2)], 1)
            for i in range(3)
        ],
        1,
    )
    expected = torch.einsum("oc,cij->oij", block.shortcut.conv.weight[:, :, 0, 0], means)
    torch.testing.assert_close(block.shortcut.norm(expected[None]), block.shortcut(x))


@pytest.mark.parametrize("stride", [(2, 2), (2, 1), (2, 2, 1), (1, 2, 2)])
def test_blur_is_the_binomial_of_the_axes_that_are_halved(stride: tuple[int, ...]) -> None:
    pool = BlurPool(stride)
    space = (9, 8, 7)[: len(stride)]
    torch.testing.assert_close(
        pool(torch.full((1, 2, *space), 3.5)),
        torch.full((1, 2, *(-(-n // s) for n, s in zip(space, stride, strict=True))), 3.5),
    )
    x = torch.randn(2, 3, *space)
    expected = x
    for axis, step in enumerate(stride, start=2):
        if step > 1:
            middle = expected.transpose(axis, -1)
            padded = torch.cat([middle[..., 1:2], middle, middle[..., -2:-1]], -1)
            blurred = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
            expected = blurred[..., ::2].transpose(axis, -1)
    torch.testing.assert_close(pool(x), expected)
    assert pool(torch.ones(1, 1, *(1,) * len(stride))).shape == (1, 1, *(1,) * len(stride))


def test_antialiased_network_strides_in_its_first_convolution_alone() -> None:
    backbone = build(3, depth=50, antialias=True, stem="large")
    strided = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv3d | nn.MaxPool3d) and torch.tensor(module.stride).max() > 1
    ]
    assert strided == ["stem.conv"]
    assert backbone.eval()(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 256)
    assert backbone.forward_features(torch.zeros(1, 1, 33, 32, 31)).shape[2:] == (2, 1, 1)


def test_antialiased_network_moves_less_with_the_image() -> None:
    """What it is for: a shifted image changes the features less."""
    torch.manual_seed(0)
    image = F.pad(torch.randn(8, 1, 32, 32), (8, 8, 8, 8))
    moved = {}
    for antialias in (False, True):
        torch.manual_seed(1)
        network = build(depth=18, antialias=antialias, stem="large").eval()
        with torch.no_grad():
            first, shifted = network(image), network(image.roll(1, -1))
        moved[antialias] = float((first - shifted).norm() / first.norm())
    assert moved[True] < 0.7 * moved[False]


def test_excitation_weighs_channels_by_their_means() -> None:
    torch.manual_seed(0)
    excite = SqueezeExcitation(4, 2)
    x = torch.randn(3, 4, 5, 6, 7)
    hidden = F.relu(x.flatten(2).mean(2) @ excite.down.weight.T + excite.down.bias)
    factors = torch.sigmoid(hidden @ excite.up.weight.T + excite.up.bias)
    torch.testing.assert_close(excite(x), x * factors[:, :, None, None, None])
    assert excite.down.out_features == 2


@pytest.mark.parametrize("depth", [20, 29])
def test_preactivation_carries_the_signal_unchanged(depth: int) -> None:
    """With branches of zero a block is the identity, negative values included (He et al. 2016b, equation 4)."""
    backbone = build(3, depth=depth, preactivation=True, stem="small").eval()
    block = backbone.stages[0][1]
    x = torch.randn(2, 8 * block.expansion, 4, 4, 4)
    assert torch.equal(block(x), x)
    nn.init.normal_(block.last_layer.weight)
    assert not torch.equal(block(x), x)


def test_preactivation_order() -> None:
    """conv1(relu(norm(x))), a projection of the same, one norm and relu at the very end and none in the stem."""
    torch.manual_seed(0)
    backbone = trained_a_little(build(depth=20, preactivation=True)).eval()
    assert isinstance(backbone, ResidualNetwork)
    x = torch.randn(2, 1, 12, 12)
    stem = backbone.stem(x)
    torch.testing.assert_close(stem, backbone.stem.conv(x))
    block, x = backbone.stages[1][0], torch.randn(2, 8, 6, 6)
    ready = F.relu(block.activation.norm(x))
    branch = block.conv2(F.relu(block.norm2(block.conv1(ready))))
    torch.testing.assert_close(block(x), branch + block.shortcut.conv(ready))
    assert [name for name, _ in block.shortcut.named_children()] == ["conv"]
    last = backbone.stages[2]
    assert backbone.forward_features(torch.randn(2, 1, 12, 12)).min() >= 0
    assert type(last[-1]).__name__ == "Activation" and len(last) == 4


OPTIONS = [
    {"preactivation": preactivation, "block": block, "residual": residual, "norm": norm, "shortcut": shortcut}
    for preactivation in (False, True)
    for block in ("basic", "bottleneck")
    for residual, shortcut in ((False, "B"), (True, "A"), (True, "B"), (True, "C"))
    for norm in ("batch", "none")
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_blocks_leave_their_input_alone_and_reach_every_parameter(options: dict[str, object]) -> None:
    """An activation in place on x would falsify the shortcut without any error."""
    torch.manual_seed(0)
    extra = {"dropout": 0.2, "squeeze_excitation": 4, "antialias": True}
    network = trained_a_little(build(stages=3, width=4, stem="medium", **extra, **options))
    for block in (module for module in network.modules() if isinstance(module, Block)):
        inputs = block.conv1.in_channels
        x = torch.randn(2, inputs, 6, 6)
        kept = x.clone()
        block(x)
        assert torch.equal(x, kept)
    network(torch.randn(4, 1, 20, 20)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    biases = [
        name for name, module in network.named_modules() if isinstance(module, nn.Conv2d) and module.bias is not None
    ]
    assert bool(biases) == (options["norm"] == "none")


@pytest.mark.parametrize("preactivation", [False, True])
def test_checkpointing_changes_memory_only(preactivation: bool) -> None:
    """Gradients, dropped branches and running statistics equal those of the plain run."""
    torch.manual_seed(0)
    options = {"depth": 20, "preactivation": preactivation, "dropout": 0.3, "stochastic_depth": 0.5, "stem": "small"}
    plain = trained_a_little(build(3, **options))
    kept = build(3, checkpointing=True, **options)
    kept.load_state_dict(copy.deepcopy(plain.state_dict()))
    x = torch.randn(4, 1, 8, 8, 8)
    for network in (plain, kept):
        torch.manual_seed(5)
        for _ in range(2):
            network(x).square().sum().backward()
    for (name, left), (_, right) in zip(plain.named_parameters(), kept.named_parameters(), strict=True):
        assert left.grad is not None and right.grad is not None
        assert torch.equal(left.grad, right.grad), name
    for (name, left_buffer), (_, right_buffer) in zip(plain.named_buffers(), kept.named_buffers(), strict=True):
        assert torch.equal(left_buffer, right_buffer), name
    saved = {name: _bytes_kept(network, x) for name, network in (("plain", plain), ("kept", kept))}
    assert saved["kept"] < 0.25 * saved["plain"]


def _bytes_kept(network: nn.Module, x: Tensor) -> int:
    """Bytes of what the forward pass keeps for the gradient."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x)
    return total


def test_features_of_every_stage() -> None:
    backbone = build(2, depth=50, stem="large").eval()
    x = torch.randn(2, 1, 64, 48)
    maps = backbone.forward_stages(x)
    assert list(maps) == list(backbone.named_stages()) == ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert [tuple(found.shape[1:]) for found in maps.values()] == [
        (8, 16, 12),
        (32, 16, 12),
        (64, 8, 6),
        (128, 4, 3),
        (256, 2, 2),
    ]
    assert torch.equal(maps["stage4"], backbone.forward_features(x))


def test_stages_share_no_parameter_and_leave_none_out() -> None:
    backbone = build(3, depth=20, preactivation=True)
    counts = [sum(parameter.numel() for parameter in stage.parameters()) for stage in backbone.named_stages().values()]
    assert sum(counts) == sum(parameter.numel() for parameter in backbone.parameters())
    assert min(counts) > 0


def test_dropout_and_widening_and_groups_reach_the_layers() -> None:
    network = build(depth=26, groups=4, group_width=32, dropout=0.25)
    block = network.stages[0][0]
    assert block.conv2.groups == 4 and block.conv2.out_channels == 8 * 32 // 64 * 4
    assert block.dropout.p == 0.25
    wide = build(depth=20, widen=3, width=4)
    assert wide.stem.conv.out_channels == 4 and wide.stages[0][0].conv1.out_channels == 12 and wide.features == 48


def test_gradient_reaches_the_stem_of_a_thousand_layers() -> None:
    """The plain twin's does not arrive whole; that of the residual network is of the order of the head's."""
    torch.manual_seed(0)
    network = build(2, depth=1001, width=2, preactivation=True, stem="small", checkpointing=True, zero_init=True)
    network(torch.randn(4, 1, 8, 8)).sum().backward()
    gradient = network.stem.conv.weight.grad
    assert gradient is not None and gradient.isfinite().all() and math.log10(float(gradient.norm())) > -3
