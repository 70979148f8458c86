"""Closed forms of the changes that make a kernel fit."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.networks.pretrained.kernels import embed, inflate, mix_channels, reverse_axes, split_views

KERNEL = torch.arange(1.0, 1 + 4 * 2 * 9).reshape(4, 2, 3, 3)


def test_an_inflated_kernel_gives_the_2d_response_away_from_the_borders() -> None:
    x = torch.randn(1, 2, 7, 8, dtype=torch.float64)
    kernel = KERNEL.double()
    volume = x[..., None].expand(-1, -1, -1, -1, 5)
    found = F.conv3d(volume, inflate(kernel), padding=1)
    torch.testing.assert_close(found[..., 1:-1], F.conv2d(x, kernel, padding=1)[..., None].expand(-1, -1, -1, -1, 3))
    torch.testing.assert_close(found[..., 0], F.conv2d(x, kernel, padding=1) * 2 / 3)  # a third reads zeros


def test_a_split_kernel_lies_in_three_planes() -> None:
    kernel = KERNEL[:, :1].clone()  # 4 channels: two axial, one coronal, one sagittal
    cube = split_views(kernel)
    assert cube.shape == (4, 1, 3, 3, 3)
    assert torch.equal(cube[:2, 0, :, :, 1], kernel[:2, 0])
    assert torch.equal(cube[2, 0, :, 1, :], kernel[2, 0])
    assert torch.equal(cube[3, 0, 1, :, :], kernel[3, 0])
    assert cube.sum() == kernel.sum() and (cube != 0).sum() == kernel.numel()


@pytest.mark.parametrize(("channels", "split"), [(6, (2, 2, 2)), (7, (3, 2, 2)), (8, (3, 3, 2)), (64, (22, 21, 21))])
def test_channels_are_split_as_evenly_as_can_be(channels: int, split: tuple[int, ...]) -> None:
    cube = split_views(torch.ones(channels, 1, 3, 3))
    normals = [int(torch.stack([one[0].select(axis, 0).abs().sum() for axis in range(3)]).argmin()) for one in cube]
    assert tuple(normals.count(axis) for axis in (2, 1, 0)) == split
    assert normals == sorted(normals, reverse=True)


def test_an_embedded_kernel_is_the_2d_convolution_of_each_slice_whatever_the_stride() -> None:
    x, kernel = torch.randn(1, 2, 9, 8, 7, dtype=torch.float64), KERNEL.double()
    found = F.conv3d(x, embed(kernel, normal=2), padding=1, stride=2)
    slices = [F.conv2d(x[..., number], kernel, padding=1, stride=2) for number in range(0, 7, 2)]
    torch.testing.assert_close(found, torch.stack(slices, dim=-1))


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3), (1, 4), (3, 2), (3, 4)])
def test_an_image_of_equal_channels_gives_the_response_that_it_gave(theirs: int, ours: int) -> None:
    kernel = torch.randn(5, theirs, 3, 3, dtype=torch.float64)
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    mixed = mix_channels(kernel, ours)
    expected = F.conv2d(x.expand(-1, theirs, -1, -1), kernel)
    torch.testing.assert_close(F.conv2d(x.expand(-1, ours, -1, -1), mixed), expected)
    assert mixed.shape == (5, ours, 3, 3)
    assert all(torch.equal(mixed[:, 0], mixed[:, channel]) for channel in range(ours))


def test_reversed_axes_see_the_transposed_image() -> None:
    kernel = torch.randn(3, 2, 3, 3, 3, dtype=torch.float64)
    x = torch.randn(1, 2, 6, 5, 4, dtype=torch.float64)
    turned = F.conv3d(x.permute(0, 1, 4, 3, 2), kernel).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(F.conv3d(x, reverse_axes(kernel)), turned)
