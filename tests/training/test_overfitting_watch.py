"""The gap between training and validation is measured alike on both sides, and told as it was measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest, make_plan
from phantoms.trainings import IMAGES, SEED, Memory, network, train

from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.plan import Decision
from pipeline.networks.settings import NetworkSettings
from pipeline.training.checkpoints import load_checkpoint, load_weights
from pipeline.training.losses import FindingsLoss
from pipeline.training.settings import TrainingSettings
from pipeline.training.watch.case_losses import case_losses, gap
from pipeline.training.watch.overfitting import OverfittingWatch
from pipeline.training.watch.overfitting_words import Against, keep, overfitting_words, what_stood_against
from pipeline.training.watch.settings import OverfittingWatchSettings

OFF = {"depth_watch": {"enabled": False}}
FOUR_KINDS = (
    *FINDINGS,
    Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("a", "b", "c")),
    Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("x", "y")),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_the_training_is_the_same_bit_for_bit_with_and_without(cache: Path, tmp_path: Path) -> None:
    states = []
    for enabled in (True, False):
        classifier = network(stochastic_depth=0.3, dropout=0.2, zero_init=False)
        watch = {"enabled": enabled, "cases": 7}
        train(tmp_path / str(enabled), cache, classifier=classifier, ema_decay=0.9, overfitting_watch=watch, **OFF)
        states.append(load_checkpoint(tmp_path / str(enabled) / "checkpoints" / "last.ckpt")["state_dict"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_both_sides_are_the_plain_loss_of_the_kept_weights(ema: float, cache: Path, tmp_path: Path) -> None:
    """In evaluation mode, as prepared, without class weights and smoothing; here of all training cases."""
    journal = Memory()
    settings = {"ema_decay": ema, "label_smoothing": 0.2, "overfitting_watch": {"cases": 1000}}
    fitted = train(tmp_path, cache, journal=journal, classifier=network(dropout=0.3), **settings, **OFF)
    kept = network().eval()
    kept.load_state_dict(load_weights(tmp_path / "checkpoints" / "last.ckpt"))
    data, losses = make_data(cache, IMAGES, ndim=2, augmentation=AugmentationSettings(shift=0)), {}
    for split in (Split.TRAIN, Split.VALIDATION):
        cases = data.datasets[split].cases
        images = torch.from_numpy(np.stack([np.asarray(data.datasets[split].cache.load(case)) for case in cases]))
        with torch.no_grad():
            labels = torch.from_numpy(encode_labels(cases, FINDINGS))
            losses[split] = float(FindingsLoss(FINDINGS)(kept(images), labels))
    last = fitted.history[-1]
    assert last["overfit/train_loss"] == pytest.approx(losses[Split.TRAIN], rel=1e-5)
    assert last["overfit/gap"] == pytest.approx(losses[Split.VALIDATION] - losses[Split.TRAIN], abs=1e-5)
    assert last["overfit/gap_low"] < last["overfit/gap"] < last["overfit/gap_high"]
    assert {step: values["overfit/gap"] for step, values in journal.having("overfit/").items()} == {
        int(entry["epoch"]): entry["overfit/gap"] for entry in fitted.history
    }


def test_layers_go_back_to_the_mode_they_were_in(cache: Path, tmp_path: Path) -> None:
    """Fine-tuning keeps some norms in evaluation mode while the others train."""
    seen: list[tuple[bool, bool]] = []
    classifier = network()
    fixed, other = classifier.backbone.stem.norm, classifier.backbone.stages[0][0].norm1
    fixed.eval()
    other.register_forward_hook(lambda module, inputs, output: seen.append((fixed.training, other.training)))
    train(tmp_path, cache, classifier=classifier, overfitting_watch={"cases": 8}, **OFF)
    assert set(seen[:4]) == {(False, True)} and set(seen[-3:]) == {(False, False)}
    assert seen.count((False, True)) == 8  # four batches in each of two epochs


def test_the_sample_is_fixed_by_the_seed_and_bounded(cache: Path) -> None:
    data = make_data(cache, IMAGES, ndim=2)

    def sample(seed: int) -> tuple[str, ...]:
        return tuple(case.case for case in OverfittingWatch(OverfittingWatchSettings(cases=9), data, seed).cases)

    assert sample(1) == sample(1) != sample(2)
    assert len(set(sample(1))) == 9
    automatic = OverfittingWatchSettings()
    assert [automatic.sample_size(count) for count in (20, 100, 1188, 19_999, 10**6)] == [20, 32, 59, 999, 1000]
    assert OverfittingWatchSettings(cases=500).sample_size(100) == 100


def test_nothing_is_measured_where_it_is_off(cache: Path, tmp_path: Path) -> None:
    journal = Memory()
    fitted = train(tmp_path, cache, journal=journal, epochs=1, overfitting_watch={"enabled": False}, **OFF)
    assert not [name for name in fitted.history[0] if name.startswith("overfit")]
    assert overfitting_words(fitted.history, 1, "", AGAINST) == ()
    keep((), tmp_path / "words", journal)
    assert not (tmp_path / "words").exists() and journal.artifacts == journal.tagged == {}


def test_shares_of_cases_make_up_the_loss_with_unknown_labels() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(40, 1 + 2 + 3 + 2)).astype(np.float32)) * 3
    sizes = (2, 3, 3, 2, 2)
    labels = torch.from_numpy(np.stack([rng.integers(-1, size, 40) for size in sizes], axis=1))
    shares = case_losses(FOUR_KINDS, logits, labels)
    assert shares.shape == (40,)
    assert shares.mean() == pytest.approx(float(FindingsLoss(FOUR_KINDS)(logits, labels)), rel=1e-6)
    labels[:, 1] = -1
    assert case_losses(FOUR_KINDS, logits, labels).mean() == pytest.approx(
        float(FindingsLoss(FOUR_KINDS)(logits, labels)), rel=1e-6
    )


def test_the_interval_holds_the_true_gap_and_counts_patients_not_cases() -> None:
    """3 cases a patient, fully alike: 95% intervals of 400 draws must hold the truth about 380 times."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        one, other = np.repeat(rng.gamma(2, 0.1, 40), 3), np.repeat(rng.gamma(2, 0.15, 60), 3)
        names = [str(number // 3) for number in range(180)]
        found = gap(one, names[:120], other, names)
        held += found.low <= 0.1 <= found.high
    assert 365 <= held <= 393
    assert gap(np.ones(3), ["a"] * 3, np.ones(2), ["a", "b"]).high == np.inf


AGAINST = Against(("depth 18 because 1188 training cases", "weight decay 0.05"), ("more training cases",))


def history(validation: list[float], training: list[float], wide: float = 0.05) -> list[dict[str, float]]:
    return [
        {
            "epoch": float(number),
            "val/loss": other,
            "overfit/train_loss": own,
            "overfit/gap": other - own,
            "overfit/gap_low": other - own - wide,
            "overfit/gap_high": other - own + wide,
        }
        for number, (other, own) in enumerate(zip(validation, training, strict=True), start=1)
    ]


def test_words_where_validation_rose() -> None:
    words = overfitting_words(history([0.6, 0.4, 0.45, 0.55], [0.6, 0.35, 0.3, 0.24]), 2, "9 and 8 cases", AGAINST)
    assert words == (
        "Overfitting: validation loss rose from epoch 2 on, 0.400 to 0.550, while training loss fell, 0.350 to 0.240; "
        "gap 0.310 (0.260 to 0.360) at the end (training and validation loss measured alike on 9 and 8 cases).",
        "The model is that of epoch 2: gap 0.050 (0.000 to 0.100).",
        "Against overfitting: depth 18 because 1188 training cases; weight decay 0.05.",
        "You could: more training cases.",
    )


@pytest.mark.parametrize(
    ("validation", "training", "wide", "first", "advice"),
    [
        ([0.6, 0.40, 0.41], [0.6, 0.35, 0.2], 0.05, "Validation loss did not rise, but stands above training", True),
        ([0.6, 0.40, 0.41], [0.6, 0.35, 0.2], 0.30, "No overfitting was seen: gap 0.210 (-0.090 to 0.510)", False),
        ([0.4, 0.5, 0.6], [0.4, 0.5, 0.6], 0.05, "No overfitting was seen", False),
        ([0.4, 0.6, 0.6], [0.4, 0.2, 0.1], 0.9, "Overfitting: validation loss rose from epoch 1 on", True),
    ],
)
def test_words_of_other_ends(
    validation: list[float], training: list[float], wide: float, first: str, advice: bool
) -> None:
    words = overfitting_words(history(validation, training, wide), len(validation), "cases", AGAINST)
    assert words[0].startswith(first)
    assert any(line.startswith("You could") for line in words) == advice
    assert not any(line.startswith("The model is") for line in words)


def against(backbone: dict[str, Any], augmentation: dict[str, Any], **training: Any) -> Against:
    decision = Decision(name="depth", value="18", reason="1188 training cases (rule: up to 5000 cases, 18 layers)")
    plan = make_plan(2).model_copy(update={"depth": 18, "decisions": (decision,)})
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet"} | backbone})
    return what_stood_against(
        plan, settings, AugmentationSettings.model_validate(augmentation), TrainingSettings.model_validate(training)
    )


def test_what_stood_against_it_is_what_was_set() -> None:
    found = against(
        {"depth": 18, "stochastic_depth": 0.1}, {"flip_axes": [0], "shift": 3}, early_stopping=7, mixing={"mixup": 0.2}
    )
    assert found.done == (
        "depth 18 because 1188 training cases (rule: up to 5000 cases, 18 layers)",
        "stochastic depth 0.1",
        "dropout in blocks off",
        "dropout before the heads off",
        "augmentation by flips of axes 0 and shift 3 and contrast 0.1 and brightness 0.1",
        "weight decay 0.01",
        "label smoothing off",
        "mixup 0.2",
        "cutmix off",
        "averaged weights off",
        "early stopping 7 epochs",
    )
    text = " ".join(found.open)
    assert "network.dropout=0.3" in text and "rotation=10" in text and "weight_decay above 0.01" in text
    assert "stochastic_depth" not in text and "flip_axes" not in text and "early_stopping" not in text
    nothing = {"shift": 0, "intensity_scale": 0, "intensity_shift": 0}
    assert "augmentation off" in against({"depth": 18}, nothing).done


def test_a_depth_given_by_hand_is_told_as_such_and_plain_networks_get_no_stochastic_depth() -> None:
    found = against({"depth": 34, "residual": False}, {})
    assert found.done[0] == "depth 34 as given"
    assert "stochastic_depth" not in " ".join(found.open)


@pytest.mark.long
def test_a_network_that_learns_by_heart_is_told(cache: Path, tmp_path: Path) -> None:
    """Labels dealt at random: all that can be learned of them is the cases themselves."""
    manifest = make_manifest(train=32, validation=60, ndim=2)
    rng = np.random.default_rng(0)
    answers = {finding.name: finding.classes for finding in FINDINGS}
    dealt = [
        case.model_copy(update={"labels": {name: str(rng.choice(classes)) for name, classes in answers.items()}})
        for case in manifest.cases
    ]
    manifest = manifest.model_copy(update={"cases": tuple(dealt)})
    data = make_data(cache, manifest, ndim=2, seed=SEED, augmentation=AugmentationSettings(shift=0))
    fitted = train(tmp_path, cache, data=data, manifest=manifest, classifier=network(width=16), epochs=30, **OFF)
    words = overfitting_words(fitted.history, fitted.best_epoch, "all cases", AGAINST)
    assert words[0].startswith("Overfitting: validation loss rose")
    assert fitted.history[-1]["overfit/gap_low"] > 0
