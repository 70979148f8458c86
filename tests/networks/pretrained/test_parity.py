"""With the weights of a file our outputs are those of the network that the file is from."""

from pathlib import Path
from typing import Literal

import pytest
import safetensors.torch
import torch
from phantoms.packages import FINDINGS, make_network, make_package
from phantoms.peers import classifier, features, monai, randomise, saved

from pipeline.networks.classifier import build_classifier
from pipeline.networks.pretrained.loading import load_pretrained
from pipeline.networks.pretrained.settings import PretrainedSettings


def images(ndim: int, channels: int = 1) -> torch.Tensor:
    return torch.randn((2, channels, 19, 24, 16)[: ndim + 2])


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("depth", [10, 18, 34, 50])
@pytest.mark.parametrize("ndim", [2, 3])
def test_outputs_equal_monai(depth: int, ndim: int, shortcut: str, tmp_path: Path) -> None:
    torch.manual_seed(depth)
    peer = monai(depth, ndim, shortcut)
    ours = classifier(ndim, depth=depth, shortcut=shortcut)
    file = saved(peer.state_dict(), tmp_path / "monai.pt")
    report = load_pretrained(ours, PretrainedSettings(file=file, axes="ijk"))
    x = images(ndim)
    torch.testing.assert_close(ours.backbone(x), features(peer, x), rtol=1e-5, atol=1e-5)
    assert report.filled == report.used == 1
    assert report.left_out == ("fc.weight", "fc.bias") and not report.heads
    biases = [name for name in report.adapted if name.endswith("shortcut.norm.running_mean")]
    assert len(biases) == (0 if shortcut == "A" else 3 if depth < 50 else 4)


def test_stride_of_monais_stem_is_a_setting(tmp_path: Path) -> None:
    torch.manual_seed(1)
    peer = monai(10, 3, stride=1)
    ones_first = [[1, 1, 1], *[[2, 2, 2]] * 4]
    ours = classifier(3, depth=10, strides=ones_first)
    report = load_pretrained(ours, PretrainedSettings(file=saved(peer.state_dict(), tmp_path / "monai.pt")))
    x = torch.randn(1, 1, 20, 18, 16)
    torch.testing.assert_close(ours.backbone(x), features(peer, x), rtol=1e-5, atol=1e-5)
    assert "stride leaves no trace" in report.summary


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_medicalnet_files_are_read_with_slices_first(depth: int, tmp_path: Path) -> None:
    """Published as {'state_dict': {'module. ...'}}, no bias, shortcut A for 18 and 34, trained on (k, j, i)."""
    torch.manual_seed(depth)
    shortcut = "A" if depth in (18, 34) else "B"
    peer = monai(depth, 3, shortcut, bias=False)
    state = {f"module.{name}": tensor for name, tensor in peer.state_dict().items() if not name.startswith("fc.")}
    state |= {"module.conv_seg.0.weight": torch.zeros(64, 32, 2, 2, 2)}
    ours = classifier(3, depth=depth, shortcut=shortcut)
    report = load_pretrained(ours, PretrainedSettings(file=saved({"state_dict": state}, tmp_path / "resnet.pth")))
    x = images(3)
    turned = x.permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(ours.backbone(x), features(peer, turned), rtol=1e-5, atol=1e-5)
    assert (report.layout, report.axes) == ("medicalnet", "kji")
    assert report.left_out == ("module.conv_seg.0.weight",)
    assert "dilate" in report.notes[0]


def test_torchvision_kernels_see_rows_before_columns(tmp_path: Path) -> None:
    """A picture is (rows, columns) there and (i, j) = (columns, rows) here."""
    torch.manual_seed(2)
    peer = monai(18, 2, channels=3, bias=False)  # the same tensors under the same names as torchvision's resnet18
    ours = classifier(2, channels=3, depth=18)
    path = tmp_path / "resnet18.safetensors"
    safetensors.torch.save_file(peer.state_dict(), path)
    report = load_pretrained(ours, PretrainedSettings(file=path))
    x = images(2, channels=3)
    torch.testing.assert_close(ours.backbone(x), features(peer, x.mT), rtol=1e-5, atol=1e-5)
    assert (report.layout, report.axes) == ("torchvision", "ji")
    assert report.adapted["stem.conv.weight"] == "axes reversed"
    assert "stages.1.0.shortcut.conv.weight" in report.taken  # a 1x1 kernel has no axes to turn


def test_grey_images_see_the_sum_of_the_colours(tmp_path: Path) -> None:
    torch.manual_seed(3)
    peer = monai(10, 2, channels=3, bias=False)
    ours = classifier(2, channels=1, depth=10)
    load_pretrained(ours, PretrainedSettings(file=saved(peer.state_dict(), tmp_path / "rgb.pt"), axes="ijk"))
    x = images(2)
    expected = features(peer, x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(ours.backbone(x), expected, rtol=1e-5, atol=1e-5)


def wrap_around(network: torch.nn.Module) -> None:
    """Images without borders: what leaves at one side comes in at the other."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            module.padding_mode = "circular"


def test_an_inflated_network_gives_the_2d_response_on_equal_slices(tmp_path: Path) -> None:
    torch.manual_seed(4)
    flat = randomise(classifier(2, depth=18))
    file = saved(flat.state_dict(), tmp_path / "flat.pt")
    volume = classifier(3, depth=18)
    report = load_pretrained(volume, PretrainedSettings(file=file, two_d="inflate"))
    wrap_around(flat)
    wrap_around(volume)
    x = torch.randn(2, 1, 32, 24)
    with torch.no_grad():
        expected = flat.backbone.forward_features(x)
        found = volume.backbone.forward_features(x[..., None].expand(-1, -1, -1, -1, 16))
    torch.testing.assert_close(found, expected[..., None].expand_as(found), rtol=1e-4, atol=1e-5)
    assert report.adapted["stages.0.0.conv1.weight"] == "inflated along k"


@pytest.mark.parametrize(("view", "normal"), [(0, 4), (1, 3), (2, 2)])
def test_each_view_of_a_split_stem_is_the_2d_stem_on_slices(view: int, normal: int, tmp_path: Path) -> None:
    """Views: axial (i, j) across k, coronal (i, k) across j, sagittal (j, k) across i; two channels each."""
    torch.manual_seed(5)
    flat, volume = randomise(classifier(2, depth=10, width=6)), classifier(3, depth=10, width=6)
    file = saved(flat.state_dict(), tmp_path / "flat.pt")
    load_pretrained(volume, PretrainedSettings(file=file, two_d="acs"))
    channels = slice(2 * view, 2 * view + 2)
    x = torch.randn(1, 1, 16, 14, 12)
    with torch.no_grad():
        found = volume.backbone.stem.conv(x)[:, channels].movedim(normal, 1)[0]
        every_second = x.movedim(normal, 1)[0, ::2]  # (slices, 1, a, b), by the stride of the stem
        expected = flat.backbone.stem.conv(every_second)[:, channels]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_ours_with_the_heads_of_the_same_findings(tmp_path: Path) -> None:
    package = make_package(tmp_path / "model", ndim=3)
    theirs = package.build_classifier()
    ours = build_classifier(make_network(), FINDINGS, 3, 1).eval()
    settings = PretrainedSettings(file=tmp_path / "model", heads="same_findings")
    report = load_pretrained(ours, settings, backbone=make_network().backbone.model_dump())
    x = images(3)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert report.heads == tuple(finding.name for finding in FINDINGS)
    assert (report.layout, report.adapted, report.left_out, report.notes) == ("resdx", {}, (), ())


@pytest.mark.parametrize("axes", ["ijk", "kji"])
def test_2d_weights_look_at_each_slice_of_a_volume(axes: Literal["ijk", "kji"], tmp_path: Path) -> None:
    torch.manual_seed(6)
    peer = monai(18, 2, bias=False)
    ours = classifier(3, kind="slices", depth=18)
    report = load_pretrained(ours, PretrainedSettings(file=saved(peer.state_dict(), tmp_path / "flat.pt"), axes=axes))
    x = images(3)[..., :5]
    slices = [features(peer, x[..., k] if axes == "ijk" else x[..., k].mT) for k in range(5)]
    mean = torch.stack(slices).mean(dim=0)  # fresh attention weighs all slices alike
    torch.testing.assert_close(ours.backbone(x), mean, rtol=1e-5, atol=1e-5)
    assert bool(report.adapted) is (axes == "kji") and report.filled == report.used == 1
    assert report.fresh == (
        "attention.gate.bias",
        "attention.gate.weight",
        "attention.tanh.bias",
        "attention.tanh.weight",
        "attention.weigh.weight",
    )


def test_attention_over_slices_is_taken_where_both_have_it(tmp_path: Path) -> None:
    torch.manual_seed(7)
    theirs = randomise(classifier(3, kind="slices", depth=10))
    torch.nn.init.normal_(theirs.backbone.attention.weigh.weight)
    file = saved(theirs.state_dict(), tmp_path / "slices.pt")
    ours, solid = classifier(3, kind="slices", depth=10), classifier(3, depth=10)
    x = images(3)
    load_pretrained(ours, PretrainedSettings(file=file))
    with torch.no_grad():
        assert torch.equal(ours.backbone(x), theirs.backbone(x))
    report = load_pretrained(solid, PretrainedSettings(file=file))
    assert "attention.weigh.weight" in report.left_out and not report.unexpected
    fresh = load_pretrained(ours, PretrainedSettings(file=file, fresh=("attention",)))
    assert "attention.weigh.weight" in fresh.fresh and "attention.weigh.weight" in fresh.left_out
