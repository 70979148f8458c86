"""Weights in the layout of the images, whatever their number of axes."""

import pytest
import torch

from pipeline.backbones.resnet import Config as ResnetConfig
from pipeline.backbones.slices import Config as SlicesConfig
from pipeline.networks.layout import lay_out


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.channels_last_3d])
def test_weights_of_2d_and_3d_convolutions_are_laid_out(memory_format: torch.memory_format) -> None:
    for network in (ResnetConfig(depth=10, width=8).build(3, 2), SlicesConfig(depth=10, width=8).build(3, 2)):
        volumes = torch.randn(2, 2, 8, 8, 8)
        with torch.no_grad():
            expected = network.eval()(volumes)
            lay_out(network, memory_format)
            for parameter in network.parameters():
                if parameter.ndim == 4:
                    assert parameter.is_contiguous(memory_format=torch.channels_last)
                elif parameter.ndim == 5:
                    assert parameter.is_contiguous(memory_format=torch.channels_last_3d)
                else:
                    assert parameter.is_contiguous()
            torch.testing.assert_close(network(volumes), expected, rtol=1e-4, atol=1e-5)
            lay_out(network, torch.contiguous_format)
            assert all(parameter.is_contiguous() for parameter in network.parameters())
