"""Fine axes are halved before coarse ones."""

import pytest

from pipeline.backbones.resnet import Config
from pipeline.backbones.strides import choose_strides
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((64, 64, 64), (1.0, 1.0, 1.0), ((2, 2, 2),) * 4),
        ((256, 256, 40), (1.0, 1.0, 5.0), ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2))),
        ((64, 64, 32), (1.0, 1.0, 2.0), ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))),
        ((40, 256, 256), (6.0, 0.5, 0.5), ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))),
        ((64, 64, 64), (1.0, 1.0, 1.999999), ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))),
        ((28, 28), None, ((2, 2),) * 4),
        ((8, 8, 1), (1.0, 1.0, 1.0), ((2, 2, 1), (2, 2, 1), (2, 2, 1), (1, 1, 1))),
    ],
)
def test_choice(
    size: tuple[int, ...], spacing: tuple[float, ...] | None, expected: tuple[tuple[int, ...], ...]
) -> None:
    assert choose_strides(size, spacing, 4) == expected


def test_thick_slices_are_not_merged_early() -> None:
    import torch

    config = Config(depth=10, width=4, stem="medium").resolved(10, (64, 64, 16), (1.0, 1.0, 5.0))
    maps = config.build(3, 1).eval().forward_stages(torch.zeros(1, 1, 64, 64, 16))
    assert {name: tuple(found.shape[1:]) for name, found in maps.items()} == {
        "stem": (4, 32, 32, 16),
        "stage1": (4, 32, 32, 16),
        "stage2": (8, 16, 16, 16),
        "stage3": (16, 8, 8, 8),
        "stage4": (32, 4, 4, 4),
    }


def test_given_strides_must_fit_the_network() -> None:
    with pytest.raises(ConfigError, match="strides: expected 3 downsamplings of 3 axes each"):
        Config(depth=18, strides=((2, 2), (2, 2), (2, 2))).resolved(18, (16, 16, 16), None)
    with pytest.raises(ConfigError, match="strides: expected 5 downsamplings"):
        Config(depth=18, stem="large", strides=((2, 2, 1),) * 4).build(3, 1)
