"""What is taken, what is left out, and why weights are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.packages import FINDINGS, make_network, make_package
from phantoms.peers import GRADE, LESION, classifier, monai, saved

from pipeline.errors import PretrainedError
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.pretrained.files import WeightsFile
from pipeline.networks.pretrained.layouts import Recognised
from pipeline.networks.pretrained.loading import load_pretrained
from pipeline.networks.pretrained.notes import notes
from pipeline.networks.pretrained.report import PretrainedReport
from pipeline.networks.pretrained.settings import PretrainedSettings


def load(ours: Classifier, file: Path, **settings: Any) -> PretrainedReport:
    return load_pretrained(ours, PretrainedSettings(file=file, **settings))


def refusal(theirs: dict[str, object], ours: dict[str, object], folder: Path, ndim: tuple[int, int] = (2, 2)) -> str:
    """Message for weights of one network of ours offered to another."""
    file = saved(classifier(ndim[0], **theirs).state_dict(), folder / "weights.pt")
    with torch.device("meta"):
        target = classifier(ndim[1], **ours)
    with pytest.raises(PretrainedError) as caught:
        load(target, file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (
            {"depth": 34},
            {"depth": 18},
            [
                "fills 100 of 100",
                "55.6% of its own",
                "unexpected: stages.0.2.conv1.weight",
                "network.backbone.depth: 34",
            ],
        ),
        ({"depth": 18}, {"depth": 34}, ["missing: stages.0.2.conv1.weight", "network.backbone.depth: 18"]),
        ({"depth": 50}, {"depth": 34}, ["depth: 50, block: bottleneck, stages: 4"]),
        ({"depth": 20}, {"depth": 18}, ["depth: 20, block: basic, stages: 3"]),
        (
            {"shortcut": "A", "depth": 18},
            {"depth": 18},
            ["missing: stages.1.0.shortcut.conv.weight", "network.backbone.shortcut: A"],
        ),
        ({"depth": 18}, {"depth": 18, "shortcut": "A"}, ["unexpected: stages.1.0.shortcut", "backbone.shortcut: B"]),
        ({"depth": 18, "shortcut": "C"}, {"depth": 18}, ["unexpected: stages.0.0.shortcut", "backbone.shortcut: C"]),
        (
            {"depth": 18},
            {"depth": 18, "stem": "small"},
            [
                "stem.conv.weight [8, 1, 7, 7] into [8, 1, 3, 3]",
                "stem: large, or leave it fresh",
                "pretrained.fresh: [stem]",
            ],
        ),
        ({"depth": 18, "stem": "small"}, {"depth": 18}, ["stem: small or medium"]),
        ({"depth": 18, "stem": "deep"}, {"depth": 18}, ["unexpected: stem.conv.conv1.weight", "stem: deep"]),
        ({"depth": 18, "preactivation": True}, {"depth": 18}, ["missing: stem.norm.weight", "preactivation: true"]),
        ({"depth": 18}, {"depth": 18, "preactivation": True}, ["preactivation: false"]),
        ({"depth": 18, "width": 16}, {"depth": 18}, ["of another shape: stem.conv.weight [16, 1", "width: 16"]),
        (
            {"depth": 50, "width": 64, "groups": 32, "group_width": 4},
            {"depth": 50, "width": 64},
            ["stages.0.0.conv1.weight [128, 64, 1, 1] into [64, 64, 1, 1]", "width: 64, groups: 32, group_width: 4"],
        ),
        ({"depth": 18}, {"depth": 18, "norm": "group"}, ["unexpected: stem.norm.running_mean", "backbone.norm: batch"]),
        ({"depth": 18, "norm": "none"}, {"depth": 18}, ["missing: stem.norm.weight", "backbone.norm: none"]),
        ({"depth": 18}, {"depth": 18, "squeeze_excitation": 16}, ["squeeze_excitation: 0"]),
    ],
)
def test_a_poor_match_is_refused_with_its_cause(
    theirs: dict[str, object], ours: dict[str, object], expected: list[str], tmp_path: Path
) -> None:
    message = refusal(theirs, ours, tmp_path)
    assert [part for part in expected if part not in message] == []


def test_3d_weights_do_not_go_into_a_2d_network(tmp_path: Path) -> None:
    assert "the weights are of a 3D network and yours is 2D" in refusal({"depth": 10}, {"depth": 10}, tmp_path, (3, 2))


def test_nothing_is_changed_by_a_refusal(tmp_path: Path) -> None:
    ours = classifier(2, depth=18)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with pytest.raises(PretrainedError):
        load(ours, saved(classifier(2, depth=34).state_dict(), tmp_path / "weights.pt"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


def test_a_stem_that_is_left_fresh_keeps_its_random_weights(tmp_path: Path) -> None:
    peer = monai(18, 2, bias=False)
    ours = classifier(2, depth=18, stem="small")
    before = ours.backbone.stem.conv.weight.clone()
    report = load(ours, saved(peer.state_dict(), tmp_path / "weights.pt"), fresh=("stem",), axes="ijk")
    assert torch.equal(ours.backbone.stem.conv.weight, before)
    assert torch.equal(ours.backbone.stages[0][0].conv1.weight, peer.layer1[0].conv1.weight)
    assert report.fresh == tuple(f"stem.{name}" for name in ("conv.weight", *norm_names("norm")))
    assert set(report.left_out) >= {"stem.conv.weight", "fc.weight"}
    assert report.filled == report.used == 1 and not report.missing


def norm_names(name: str) -> list[str]:
    return sorted(f"{name}.{part}" for part in ("bias", "running_mean", "running_var", "weight"))


def test_a_part_is_taken_only_where_it_is_accepted(tmp_path: Path) -> None:
    ours = classifier(2, depth=18, squeeze_excitation=4)
    theirs = classifier(2, depth=18)
    file = saved(theirs.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PretrainedError, match="fills 100 of 132"):
        load(ours, file, least_matched=0.8)
    report = load(ours, file, least_matched=0.75)
    assert report.missing[:1] == ("stages.0.0.excite.down.weight",) and len(report.missing) == 32
    assert report.causes == ("squeeze-and-excitation: the weights have none",)
    assert torch.equal(ours.backbone.stages[3][1].conv2.weight, theirs.backbone.stages[3][1].conv2.weight)


def test_heads_are_never_taken_unasked(tmp_path: Path) -> None:
    theirs, ours = classifier(2, depth=10), classifier(2, depth=10)
    before = ours.heads[0].weight.clone()
    report = load(ours, saved(theirs.state_dict(), tmp_path / "weights.pt"))
    assert torch.equal(ours.heads[0].weight, before) and not torch.equal(before, theirs.heads[0].weight)
    assert report.left_out == ("heads.0.weight", "heads.0.bias")
    assert "heads fresh" in report.summary


def test_heads_go_by_finding_not_by_place(tmp_path: Path) -> None:
    package = make_package(tmp_path / "model")
    theirs = package.build_classifier()
    ours = build_classifier(make_network(), (FINDINGS[3], FINDINGS[1]), 3, 1)
    report = load(ours, tmp_path / "model", heads="same_findings")
    assert torch.equal(ours.heads[1].weight, theirs.heads[1].weight)
    assert torch.equal(ours.heads[0].score.weight, theirs.heads[3].score.weight)
    assert report.heads == ("grade", "organ")


@pytest.mark.parametrize(
    ("finding", "message"),
    [(GRADE.model_copy(update={"classes": ("none", "mild", "worst")}), "no head for grade"), (LESION, "")],
)
def test_heads_of_other_classes_are_refused(finding: Any, message: str, tmp_path: Path) -> None:
    make_package(tmp_path / "model")
    ours = build_classifier(make_network(), (finding,), 3, 1)
    if not message:
        assert load(ours, tmp_path / "model", heads="same_findings").heads == ("lesion",)
        return
    with pytest.raises(PretrainedError, match=message):
        load(ours, tmp_path / "model", heads="same_findings")


def test_heads_of_a_file_without_findings_are_refused(tmp_path: Path) -> None:
    file = saved(classifier(2, depth=10).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PretrainedError, match="does not tell which findings"):
        load(classifier(2, depth=10), file, heads="same_findings")


def test_a_stage_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = saved(classifier(2, depth=10).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PretrainedError, match="names stage5, the network has stem, stage1, stage2, stage3, stage4"):
        load(classifier(2, depth=10), file, fresh=("stage5",))


def test_what_leaves_no_trace_in_a_package_is_told(tmp_path: Path) -> None:
    make_package(tmp_path / "model")
    network = make_network().model_copy(
        update={"backbone": make_network().backbone.model_copy(update={"stem": "medium"})}
    )
    ours = build_classifier(network, FINDINGS, 3, 1)
    report = load_pretrained(
        ours, PretrainedSettings(file=tmp_path / "model"), backbone=network.backbone.model_dump(mode="json")
    )
    assert report.notes == ("The weights were trained with stem auto, the network has medium.",)


def test_strides_are_told_unless_one_is_of_pictures() -> None:
    trunk = {"stages.0.0.conv1.weight": torch.zeros(1, 1, 3, 3)}
    found = Recognised("resdx", 2, trunk, {}, (), ())
    file = WeightsFile("flat", "", {}, backbone={"strides": [[2, 2], [2, 2]]})
    assert list(notes(found, file, {"strides": ((2, 2, 2), (2, 2, 2))})) == []
    (told,) = notes(found, file, {"strides": ((2, 1), (2, 2))})
    assert told == "The weights were trained with strides [[2, 2], [2, 2]], the network has [[2, 1], [2, 2]]."


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    state = classifier(2, depth=10).state_dict()
    state["backbone.stages.1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(PretrainedError, match=r"stages\.1\.0\.conv1\.weight holds a value that is not finite"):
        load(classifier(2, depth=10), saved(state, tmp_path / "weights.pt"))


def test_integers_are_no_weights(tmp_path: Path) -> None:
    state = classifier(2, depth=10).state_dict()
    state["backbone.stages.1.0.conv1.weight"] = state["backbone.stages.1.0.conv1.weight"].mul(100).to(torch.int8)
    with pytest.raises(PretrainedError, match=r"stages\.1\.0\.conv1\.weight is of torch\.int8"):
        load(classifier(2, depth=10), saved(state, tmp_path / "weights.pt"))


def test_grouped_and_wide_networks_of_torchvision(tmp_path: Path) -> None:
    """Names as in resnext50_32x4d and wide_resnet50_2, a quarter as wide; grey volumes by three planes."""
    for settings, inner, of_group in (({"groups": 8, "group_width": 16}, 32, 4), ({"group_width": 128}, 32, 32)):
        state = torchvision_bottlenecks((3, 4, 6, 3), inner, of_group)
        ours = classifier(3, depth=50, width=16, **settings)
        report = load(ours, saved(state, tmp_path / "weights.pt"), two_d="acs")
        assert report.filled == report.used == 1 and report.matched == 265
        conv = ours.backbone.stages[1][0].conv2.weight
        assert conv.shape == (2 * inner, 2 * of_group, 3, 3, 3)
        third = -(-2 * inner // 3)
        assert torch.equal(conv[:third, ..., 1], state["layer2.0.conv2.weight"].mT[:third])
        assert int(ours.backbone.stages[3][2].norm3.num_batches_tracked) == 7


def torchvision_bottlenecks(blocks: tuple[int, ...], inner: int, of_group: int) -> dict[str, torch.Tensor]:
    state = {"conv1.weight": torch.rand(16, 3, 7, 7), "fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}
    kernels = {"bn1": 16}
    channels = 16
    for stage, count in enumerate(blocks):
        wide, outer = inner * 2**stage, 64 * 2**stage
        for number in range(count):
            name = f"layer{stage + 1}.{number}"
            state[f"{name}.conv1.weight"] = torch.rand(wide, channels, 1, 1)
            state[f"{name}.conv2.weight"] = torch.rand(wide, of_group * 2**stage, 3, 3)
            state[f"{name}.conv3.weight"] = torch.rand(outer, wide, 1, 1)
            kernels |= {f"{name}.bn1": wide, f"{name}.bn2": wide, f"{name}.bn3": outer}
            if not number:
                state[f"{name}.downsample.0.weight"] = torch.rand(outer, channels, 1, 1)
                kernels[f"{name}.downsample.1"] = outer
            channels = outer
    for name, width in kernels.items():
        state |= {f"{name}.{part}": torch.rand(width) for part in ("weight", "bias", "running_mean", "running_var")}
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


def test_report_survives_the_disk(tmp_path: Path) -> None:
    file = saved(monai(10, 2).state_dict(), tmp_path / "weights.pt")
    report = load(classifier(3, depth=10), file)
    assert PretrainedReport.model_validate_json(report.model_dump_json()) == report
    assert str(tmp_path) not in report.model_dump_json()


def test_biases_before_no_norm_are_not_folded(tmp_path: Path) -> None:
    """In a pre-activation block norm2 stands before conv2: its mean must not take conv2's bias."""
    theirs = classifier(2, depth=20, preactivation=True).state_dict()
    name = "backbone.stages.0.0.conv2.bias"
    assert name.replace("bias", "weight") in theirs
    theirs[name] = torch.ones(theirs["backbone.stages.0.0.norm2.running_mean"].shape)
    with pytest.raises(PretrainedError, match=r"unexpected: stages\.0\.0\.conv2\.bias"):
        load(classifier(2, depth=20, preactivation=True), saved(theirs, tmp_path / "weights.pt"))
