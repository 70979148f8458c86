"""Watching by depth measures what it says, and changes no bit of the training."""

import copy
import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.spheres import make_data
from phantoms.trainings import IMAGES, SEED, Memory, network, train
from PIL import Image
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from pipeline.backbones.blocks import ResidualSum
from pipeline.data.batch import Batch
from pipeline.data.dataset import PreparedDataset
from pipeline.data.sampling import Visit
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.errors import TrainingError
from pipeline.training import fitting
from pipeline.training.checkpoints import load_checkpoint
from pipeline.training.losses import FindingsLoss, class_weights
from pipeline.training.watch.measures import StepMeasure
from pipeline.training.watch.places import Place, places_of
from pipeline.training.watch.residual_ratio import ResidualRatios

EACH = {"depth_watch": {"every": 1}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quick_chart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""

    def stub(path: Path, records: Any) -> Path:
        path.write_text(f"{len(records)} records")
        return path

    if "chart" not in request.node.name:
        monkeypatch.setattr("pipeline.training.watch.depth.save_chart", stub)


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "watched" / "depth.csv").read_text().splitlines()))


def test_the_training_is_the_same_bit_for_bit_with_and_without(cache: Path, tmp_path: Path) -> None:
    states = []
    for name, watch in (("with", {"every": 1}), ("without", {"enabled": False})):
        classifier = network(stochastic_depth=0.3, dropout=0.2, checkpointing=True, zero_init=False)
        settings = {"ema_decay": 0.9, "accumulate": 2, "depth_watch": watch}
        train(tmp_path / name, cache, classifier=classifier, **settings)
        states.append(load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt"))
    one, other = states
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in other["state_dict"])
    moments = [state["optimizer_states"][0]["state"] for state in states]
    assert all(torch.equal(moments[0][n]["exp_avg"], moments[1][n]["exp_avg"]) for n in moments[1])
    assert not (tmp_path / "without" / "watched").exists()


def test_gradients_are_those_of_the_whole_step_before_clipping(cache: Path, tmp_path: Path) -> None:
    classifier, journal = network(depth=14, stages=3), Memory()
    twin = copy.deepcopy(classifier)
    train(
        tmp_path,
        cache,
        classifier=classifier,
        journal=journal,
        epochs=1,
        accumulate=2,
        gradient_clip=0.01,
        learning_rate=0.1,
        optimizer="sgd",
        weight_decay=0.0,
        warmup_epochs=0,
        **EACH,
    )
    batches = itertools.islice(make_data(cache, IMAGES, ndim=2, seed=SEED).train_dataloader(), 2)
    labels = encode_labels(IMAGES.of(Split.TRAIN), classifier.findings)
    loss = FindingsLoss(classifier.findings, class_weights(classifier.findings, labels))
    torch.autograd.backward(sum(loss(twin(batch.image), batch.label) for batch in batches) / 2)
    shown = journal.having("depth/gradient/")[1]
    parts = twin.backbone.named_stages() | {"heads": twin.heads}
    squares = {name: sum(float(p.grad.square().sum()) for p in part.parameters()) for name, part in parts.items()}
    assert set(shown) == {f"depth/gradient/{name}" for name in parts}
    for name, square in squares.items():
        assert shown[f"depth/gradient/{name}"] == pytest.approx(math.sqrt(square), rel=1e-4), name
    # clipped to 0.01, a step of Nesterov momentum from rest is 1.9 times the rate and the gradient
    whole = sum(squares.values())
    for name, ratio in journal.having("depth/update_ratio/")[1].items():
        part = name.rpartition("/")[2]
        weight = math.sqrt(sum(float(p.detach().square().sum()) for p in parts[part].parameters()))
        moved = 1.9 * 0.1 * 0.01 * math.sqrt(squares[part] / whole)
        assert ratio == pytest.approx(moved / weight, rel=1e-3), name


def test_measured_are_the_first_step_and_every_kth(cache: Path, tmp_path: Path) -> None:
    journal = Memory()
    train(tmp_path, cache, journal=journal, epochs=3, depth_watch={"every": 5})
    assert list(journal.having("depth/")) == [1, 5, 10]
    assert {row["step"] for row in table(tmp_path)} == {"1", "5", "10"}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_ratio_at_the_sums(checkpointing: bool, cache: Path, tmp_path: Path) -> None:
    """The branch of each block is made 3 and its shortcut 4 everywhere: once for each pass, also where blocks rerun."""
    classifier, journal = network(checkpointing=checkpointing), Memory()

    class Known(ResidualSum):
        def forward(self, branch: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
            return super().forward(branch, shortcut)

    def fixed(module: nn.Module, summands: Any) -> Any:
        number = 3.0 if module.training else 0.0
        return tuple(torch.zeros_like(part) * part + value for part, value in zip(summands, (number, 4.0), strict=True))

    for module in classifier.modules():
        if isinstance(module, ResidualSum):
            module.register_forward_pre_hook(fixed)
    train(tmp_path, cache, classifier=classifier, journal=journal, epochs=1, accumulate=2, **EACH)
    stages = {f"depth/residual_ratio/stage{number}": 0.75 for number in (1, 2, 3)}
    assert list(journal.having("depth/residual_ratio/").values()) == [pytest.approx(stages)] * 2
    assert not any(module._forward_hooks for module in classifier.modules())


def test_passes_count_together_and_once_disarmed_no_more() -> None:
    meeting = ResidualSum()
    ratios = ResidualRatios([Place("stage1", "stage1.0", (), meeting)])
    ratios.arm()
    meeting(torch.full((2, 1), 3.0), torch.full((2, 1), 4.0))
    meeting(torch.full((6, 1), 5.0), torch.full((6, 1), 5.0))
    ratios.disarm()
    meeting(torch.full((9, 1), 100.0), torch.full((9, 1), 1.0))
    squares = (2 * 9 + 6 * 25) / (2 * 16 + 6 * 25)
    assert {name: float(value) for name, value in ratios.values().items()} == {
        "stage1.0": pytest.approx(math.sqrt(squares))
    }
    ratios.forget()
    assert ratios.values() == {}


def test_half_precision_does_not_overflow_the_ratio() -> None:
    meeting = ResidualSum()
    ratios = ResidualRatios([Place("stage1", "stage1.0", (), meeting)])
    ratios.arm()
    meeting(torch.full((100,), 300.0).half(), torch.full((100,), 600.0).half())
    assert float(ratios.values()["stage1.0"]) == pytest.approx(0.5)


def test_a_plain_network_has_no_ratio(cache: Path, tmp_path: Path) -> None:
    journal = Memory()
    train(tmp_path, cache, classifier=network(residual=False), journal=journal, epochs=1, **EACH)
    assert len(journal.having("depth/gradient/")) == 4
    assert journal.having("depth/residual_ratio/") == {}
    assert {row["residual_ratio"] for row in table(tmp_path)} == {""}


def test_frozen_stages_are_absent(cache: Path, tmp_path: Path) -> None:
    classifier, journal = network(), Memory()
    classifier.backbone.stages[0].requires_grad_(False)
    train(tmp_path, cache, classifier=classifier, journal=journal, epochs=1, **EACH)
    names = set(journal.having("depth/gradient/")[1])
    assert names == {f"depth/gradient/{name}" for name in ("stem", "stage2", "stage3", "heads")}


def test_gradients_are_shown_without_the_scale_of_mixed_precision(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    make = fitting.pl.Trainer
    for scale in (None, 2.0**10):
        journal = Memory()

        def made(*, plugins: list[Any], scale: float | None = scale, **settings: Any) -> Any:
            scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0)
            return make(plugins=[*plugins, MixedPrecision("16-mixed", "cpu", scaler)], **settings | {"precision": None})

        if scale is not None:
            monkeypatch.setattr(fitting.pl, "Trainer", made)
        train(tmp_path / str(scale), cache, journal=journal, epochs=1, **EACH)
        shown.append(journal.having("depth/gradient/")[1])
    assert shown[1] == pytest.approx(shown[0], rel=0.05)


def test_chart_and_table_are_artifacts_and_show_every_block(cache: Path, tmp_path: Path) -> None:
    journal = Memory()
    train(tmp_path, cache, journal=journal, classifier=network(depth=14, stages=3), epochs=1, **EACH)
    assert journal.artifacts == {"depth.png": "depth", "depth.csv": "depth"}
    with Image.open(tmp_path / "watched" / "depth.png") as chart:
        assert min(chart.size) > 500
    blocks = [f"stage{stage}.{number}" for stage in (1, 2, 3) for number in (0, 1)]
    assert [row["place"] for row in table(tmp_path) if row["step"] == "1"] == ["stem", *blocks, "heads"]


def test_a_run_that_was_stopped_has_its_picture_and_goes_on_with_it(cache: Path, tmp_path: Path) -> None:
    """The disk goes away in the second epoch; what is left then is drawn, and what is missing comes after."""
    data = make_data(cache, IMAGES, ndim=2, seed=SEED)
    dataset, left = data.datasets[Split.TRAIN], [7]

    class Failing(type(dataset)):  # type: ignore[misc]
        def __getitems__(self, visits: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise OSError("the disk went away")
            return super().__getitems__(visits)

    dataset.__class__ = Failing
    with pytest.raises(OSError, match="disk"):
        train(tmp_path / "broken", cache, data=data, **EACH)
    assert {int(row["step"]) for row in table(tmp_path / "broken")} == set(range(1, 7))
    train(tmp_path / "broken", cache, **EACH)
    train(tmp_path / "whole", cache, **EACH)
    assert table(tmp_path / "broken") == table(tmp_path / "whole")


def test_a_warning_outlives_an_interruption_and_is_told_once(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain network of small weights vanishes at once; the run that goes on after its first epoch still says so."""

    def deep() -> Any:
        classifier = network(depth=20, residual=False, norm="none")
        for module in classifier.backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data.mul_(0.3)
        return classifier

    load, reads = PreparedDataset.__getitems__, itertools.count(1)

    def failing(dataset: PreparedDataset, visits: Sequence[Visit]) -> Batch:
        if next(reads) == 9:  # four batches of training, two of validation and two of the sample make an epoch
            raise OSError("the disk went away")
        return load(dataset, visits)

    settings = {"overfitting_watch": {"cases": 16}} | EACH
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk"):
        patched.setattr(PreparedDataset, "__getitems__", failing)
        train(tmp_path, cache, classifier=deep(), **settings)
    assert caplog.text.count("Gradients vanish in stem") == 1
    fitted = train(tmp_path, cache, classifier=deep(), **settings)
    assert caplog.text.count("Gradients vanish in stem") == 1
    assert fitted.warnings[0].startswith("Gradients vanish in stem")


def test_measurements_kept_stay_few(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.watch.depth.MOST_RECORDS", 8)
    journal = Memory()
    train(tmp_path, cache, journal=journal, epochs=5, **EACH)
    kept = sorted({int(row["step"]) for row in table(tmp_path)})
    assert kept[0] == 1 and kept[-1] == 20 and 4 <= len(kept) <= 8
    assert list(journal.having("depth/")) == list(range(1, 21))


def test_the_stage_whose_gradient_is_not_finite_is_named(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also at a step that would not have been measured; the guard stops the run there."""
    classifier, journal, passes = network(), Memory(), itertools.count(1)
    weight = classifier.backbone.stages[1][0].conv1.weight
    weight.register_hook(lambda gradient: gradient * (math.inf if next(passes) == 3 else 1.0))
    with pytest.raises(TrainingError, match="step 3"):
        train(tmp_path, cache, classifier=classifier, journal=journal)
    assert "Gradients explode in stage2 (step 3). stage2: the gradient is not finite." in caplog.text
    assert math.isinf(journal.having("depth/gradient/")[3]["depth/gradient/stage2"])
    assert (tmp_path / "watched" / "depth.png").is_file()


def test_a_step_that_was_not_made_has_no_update() -> None:
    classifier = network()
    places = places_of(classifier)
    classifier(torch.zeros(2, 1, 8, 8)).sum().backward()
    assert StepMeasure(1, places, {}).finish(stepped=False).update == {}
    record = StepMeasure(1, places, {}).finish(stepped=True)
    assert set(record.update.values()) == {0.0}
