"""The residual network against MONAI's, with its options and its plain twin."""

import re

import pytest
import torch
from monai.networks.nets.resnet import ResNet

from pipeline.backbones.blocks import Block
from pipeline.backbones.layouts import FOUR_STAGES
from pipeline.backbones.operators import OPERATORS
from pipeline.backbones.residual import ResidualNetwork
from pipeline.backbones.resnet import Config
from pipeline.backbones.stochastic_depth import StochasticDepth
from pipeline.config import ConfigError

BASIC, BOTTLENECK = FOUR_STAGES["basic"], FOUR_STAGES["bottleneck"]


def build(ndim: int = 2, channels: int = 1, **settings: object) -> ResidualNetwork:
    backbone = Config.from_mapping({"width": 8, **settings}).build(ndim, channels)
    assert isinstance(backbone, ResidualNetwork)
    return backbone


def from_monai(name: str) -> str:
    """Our name of a MONAI weight."""
    name = re.sub(r"^conv1\.", "stem.conv.", name)
    name = re.sub(r"^bn1\.", "stem.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"stages.{int(found[1]) - 1}.", name)
    name = re.sub(r"\.bn(\d)\.", r".norm\1.", name)
    return name.replace("downsample.0.", "shortcut.conv.").replace("downsample.1.", "shortcut.norm.")


@pytest.mark.parametrize(
    ("depth", "stem"), [(10, "medium"), (18, "small"), (18, "large"), (34, "medium"), (50, "large")]
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_equals_monai_with_the_same_weights(depth: int, ndim: int, stem: str) -> None:
    torch.manual_seed(0)
    blocks = (BASIC | BOTTLENECK)[depth]
    peer = ResNet(
        "basic" if depth in BASIC else "bottleneck",
        list(blocks),
        [8, 16, 32, 64],
        spatial_dims=ndim,
        n_input_channels=2,
        conv1_t_size=7 if stem == "large" else 3,
        conv1_t_stride=1 if stem == "small" else 2,
        no_max_pool=stem != "large",
        shortcut_type="B",
        bias_downsample=False,
        feed_forward=False,
    )
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
    ours = build(ndim, 2, depth=depth, stem=stem)
    ours.load_state_dict({from_monai(name): tensor for name, tensor in peer.state_dict().items()})
    x = torch.randn((2, 2, 33, 40, 24)[: ndim + 2])
    with torch.no_grad():
        expected, found = peer.eval()(x), ours.eval()(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.69), (34, 21.80), (50, 25.56), (101, 44.55), (152, 60.19)])
def test_number_of_parameters_is_the_published_one(depth: int, millions: float) -> None:
    with torch.device("meta"):
        backbone = build(2, 3, depth=depth, width=64, stem="large")
    weights = sum(parameter.numel() for parameter in backbone.parameters()) + (backbone.features + 1) * 1000
    assert weights / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("depth", [*BASIC, *BOTTLENECK])
def test_depth_counts_the_layers(depth: int) -> None:
    with torch.device("meta"):
        backbone = build(2, 1, depth=depth)
    layers = [name for name, _ in backbone.named_modules() if re.search(r"conv\d?$", name) and "shortcut" not in name]
    assert len(layers) + 1 == depth  # the head is the last layer


def test_plain_twin_has_the_same_layers_without_shortcuts() -> None:
    residual, plain = build(2, 1, depth=18), build(2, 1, depth=18, residual=False)
    expected = {name: tensor.shape for name, tensor in residual.state_dict().items() if "shortcut" not in name}
    assert {name: tensor.shape for name, tensor in plain.state_dict().items()} == expected
    x = torch.randn(4, 1, 20, 20)
    block = plain.stages[0][0]
    maps = torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(block.eval()(maps), block.branch(maps).relu())
    assert plain(x).std(dim=0).max() > 1e-3  # not a constant: no zero scale where no shortcut carries the signal


def test_zero_init_starts_each_block_as_its_shortcut() -> None:
    backbone = build(3, 1, depth=18).eval()
    block = backbone.stages[0][1]
    maps = torch.rand(2, 8, 6, 6, 6)
    assert torch.equal(block(maps), maps)
    assert not torch.equal(build(3, 1, depth=18, zero_init=False).eval().stages[0][1](maps), maps)


@pytest.mark.parametrize(("norm", "name"), [("group", "GroupNorm"), ("instance", "InstanceNorm3d")])
def test_norm_is_used_throughout(norm: str, name: str) -> None:
    backbone = build(3, 1, depth=10, norm=norm)
    kinds = {type(module).__name__ for module in backbone.modules() if "Norm" in type(module).__name__}
    assert kinds == {name}
    x = torch.randn(2, 1, 12, 12, 12)
    torch.testing.assert_close(backbone.train()(x)[:1], backbone(x[:1]), rtol=1e-4, atol=1e-5)  # no batch statistics


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (6, 3), (7, 1), (8, 4), (16, 8), (31, 1), (64, 32), (96, 32), (512, 32)]
)
def test_groups_of_a_norm_hold_two_channels_where_they_can(channels: int, groups: int) -> None:
    norm = OPERATORS[2].normalisation("group", channels)
    assert norm.num_groups == groups


def test_group_norm_sees_maps_of_one_voxel() -> None:
    """With one channel a group the features would be the same for every image."""
    torch.manual_seed(0)
    network = build(3, 1, depth=10, width=4, norm="group", zero_init=False)
    x = torch.randn(2, 1, 8, 8, 3)
    assert network.forward_features(x).shape[2:] == (1, 1, 1)
    assert (network(x)[0] - network(x)[1]).abs().max() > 1e-2


def test_instance_norm_of_one_voxel_is_refused() -> None:
    settings = {"depth": 10, "norm": "instance"}
    with pytest.raises(ConfigError, match=r"norm: instance has one voxel .* of 8 x 8 x 3 voxels; take norm: group"):
        Config.from_mapping(settings).resolved(10, (8, 8, 3), None)
    Config.from_mapping(settings).resolved(10, (16, 8, 3), None)


def test_stochastic_depth_keeps_the_expectation_and_rises_with_depth() -> None:
    backbone = build(2, 1, depth=18, stochastic_depth=0.4)
    rates = [module.drop.probability for module in backbone.modules() if isinstance(module, Block)]
    assert rates == pytest.approx([0.4 * (n + 1) / 8 for n in range(8)])
    torch.manual_seed(0)
    drop = StochasticDepth(0.25)
    out = drop(torch.ones(4000, 2, 3))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(out[:, 0, 0], out[:, 1, 2])  # whole cases
    assert torch.equal(drop.eval()(torch.ones(3, 1, 1)), torch.ones(3, 1, 1))


def test_auto_follows_the_plan() -> None:
    config, isotropic = Config(), (1.0, 1.0, 1.0)
    assert config.resolved(34, (28, 28, 28), isotropic).model_dump().items() >= {"depth": 34, "stem": "medium"}.items()
    assert config.resolved(34, (64, 64), None).model_dump().items() >= {"depth": 34, "stem": "small"}.items()
    assert config.resolved(50, (224, 224), None).model_dump().items() >= {"depth": 50, "stem": "large"}.items()
    assert config.resolved(34, (64, 64), None).width == 64
    assert Config(stages=3).resolved(34, (28, 28), None).model_dump().items() >= {"depth": 32, "width": 16}.items()
    assert Config(block="bottleneck").resolved(18, (64, 64), None).depth == 14
    given = Config(depth=101, width=64, stem="large", strides=((2, 1),) * 5)
    assert given.resolved(10, (28, 28), None) == given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"depth": 51, "block": "basic"},
            r"no network has 51 layers; .*basic: 10, 18, 34; .*6n\+2, the nearest 50 or 56",
        ),
        ({"depth": 101, "block": "basic"}, "101 layers"),
        ({"depth": 18, "groups": 32}, "bottleneck: 14, 26, 50"),
        ({"block": "basic", "group_width": 4}, "need bottleneck blocks"),
        ({"strides": [[2, 3]]}, "strides"),
        ({"residual": False, "stochastic_depth": 0.1}, "plain network has no branch"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_mapping(settings)
