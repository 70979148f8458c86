"""2.5D: slices one by one, and how they are weighed."""

import pytest
import torch
from torch import nn

from pipeline.backbones.resnet import Config as ResnetConfig
from pipeline.backbones.slice_network import GatedAttention, SliceNetwork
from pipeline.backbones.slices import Config


def build(axis: int | str = "auto", **settings: object) -> SliceNetwork:
    torch.manual_seed(0)
    values = {"width": 4, "depth": 10, "attention": 6, "stem": "small", "axis": axis, **settings}
    return Config.from_mapping(values).build(3, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_slice_is_seen_by_itself_and_keeps_its_place(axis: int) -> None:
    network = build(axis).eval()
    x = torch.randn(2, 2, 9, 10, 11)
    maps = network.forward_features(x)
    assert maps.shape[2 + axis] == x.shape[2 + axis]
    for place in (0, 3, x.shape[2 + axis] - 1):
        alone = network.encoder.forward_features(x.select(2 + axis, place))
        torch.testing.assert_close(maps.select(2 + axis, place), alone, rtol=1e-4, atol=1e-5)


def test_weights_start_equal_and_follow_the_paper() -> None:
    network = build().eval()
    x = torch.randn(2, 2, 8, 8, 5)
    with torch.no_grad():
        maps = network.forward_features(x)
        torch.testing.assert_close(network.weights(maps), torch.full((2, 5), 0.2))
        torch.testing.assert_close(network(x), maps.mean((2, 3, 4)))
    attention = network.attention
    nn.init.normal_(attention.weigh.weight, std=20)
    h = maps.mean((2, 3)).transpose(1, 2)
    hidden = torch.tanh(h @ attention.tanh.weight.T + attention.tanh.bias)
    hidden = hidden * torch.sigmoid(h @ attention.gate.weight.T + attention.gate.bias)
    score = (hidden @ attention.weigh.weight[0]).exp()
    weights = score / score.sum(1, keepdim=True)
    torch.testing.assert_close(network.weights(maps), weights)
    assert weights.std() > 0.01
    torch.testing.assert_close(network(x), (weights[:, :, None] * h).sum(1))


def test_order_of_the_slices_does_not_matter() -> None:
    network = build(1).eval()
    nn.init.normal_(network.attention.weigh.weight)
    x = torch.randn(1, 2, 8, 6, 8)
    torch.testing.assert_close(network(x), network(x[:, :, :, [3, 1, 5, 0, 4, 2]]), rtol=1e-4, atol=1e-5)


def test_attention_finds_the_one_slice_that_tells() -> None:
    """What it is for: one slice of sixteen carries the answer.

    The mean over slices holds a signal of 2 / 16 in noise of 0.5 / sqrt(16), as large: 84% at best.
    """
    torch.manual_seed(0)
    attention, head = GatedAttention(8, 16), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*attention.parameters(), *head.parameters()], lr=0.02)

    def cases(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        features, label = torch.randn(count, 16, 8) * 0.5, torch.randint(2, (count,)).float()
        place = torch.arange(count), torch.randint(16, (count,))
        features[(*place, torch.tensor(0))] += 4
        features[(*place, torch.tensor(1))] += 4 * label - 2
        return features, label

    def logits(features: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = head(torch.einsum("ns,nsf->nf", attention(features), features))
        return pooled[:, 0]

    for _ in range(150):
        features, label = cases(64)
        loss = nn.functional.binary_cross_entropy_with_logits(logits(features), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features, label = cases(500)
    assert ((logits(features) > 0) == (label == 1)).float().mean() > 0.95


def test_weights_of_a_picture_network_fit_the_encoder() -> None:
    torch.manual_seed(3)
    pictures = ResnetConfig(depth=10, width=4, stem="small").build(2, 2).eval()
    network = build(2).eval()
    network.encoder.load_state_dict(pictures.state_dict())
    x = torch.randn(1, 2, 12, 12, 1)
    torch.testing.assert_close(network(x), pictures(x[..., 0]))


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((5.0, 1.0, 1.0), 0), ((1.0, 1.0, 5.0), 2), ((1.0, 1.0, 1.0), 2), ((1.0, 1.0001, 1.0), 2), (None, 2)],
)
def test_slices_lie_along_the_coarsest_axis(spacing: tuple[float, ...] | None, axis: int) -> None:
    resolved = Config(depth=10).resolved(18, (64, 70, 64), spacing)
    assert resolved.axis == axis
    assert Config(axis=1).resolved(18, (64, 64, 64), spacing).axis == 1


def test_stem_and_strides_follow_the_slice_and_not_the_volume() -> None:
    resolved = Config(depth=10).resolved(18, (40, 64, 64), (5.0, 1.0, 1.0))
    assert resolved.stem == "small"
    assert resolved.strides == ((2, 2),) * 3
    wide = Config(depth=10).resolved(18, (256, 256, 8), (1.0, 1.0, 5.0))
    assert wide.stem == "large" and wide.strides == ((2, 2),) * 5
