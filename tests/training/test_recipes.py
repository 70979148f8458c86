"""Every option of the recipe trains, and goes on exactly; accumulated steps count each case alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.spheres import FINDINGS, make_data
from phantoms.trainings import AUXILIARY, IMAGES, SEED, network, train

from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Split
from pipeline.errors import TrainingError
from pipeline.training import fitting
from pipeline.training.checkpoints import load_checkpoint
from pipeline.training.fitting import Fitted
from pipeline.training.keeping import KeepLast
from pipeline.training.losses import FindingsLoss, training_loss

RECIPES: dict[str, dict[str, Any]] = {
    "focal": {"loss": {"kind": "focal"}},
    "effective_number": {"class_weights": "effective_number", "label_smoothing": 0.1},
    "mixup": {"mixing": {"mixup": 0.3}},
    "cutmix": {"mixing": {"cutmix": 1.0, "pure_epochs": 1}},
    "one_cycle": {"schedule": {"kind": "one_cycle"}, "second_beta": 0.99},
    "step": {"schedule": {"kind": "step", "drop_at": [1]}, "optimizer": "sgd", "momentum": 0.0},
    "constant": {"schedule": {"kind": "constant"}, "optimizer": "sgd"},
    "auxiliary": AUXILIARY,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def plain(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return train(tmp_path_factory.mktemp("plain"), cache)


@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_otherwise_than_the_defaults(name: str, plain: Fitted, cache: Path, tmp_path: Path) -> None:
    fitted = train(tmp_path, cache, **RECIPES[name])
    assert all(np.isfinite(list(entry.values())).all() for entry in fitted.history)
    assert fitted.history[-1]["val/loss"] != plain.history[-1]["val/loss"]
    state = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert not torch.equal(state["classifier.backbone.stem.conv.weight"], network().backbone.stem.conv.weight)


def crash_at(data: Any, batch: int) -> None:
    """Let reading the n-th training batch fail."""
    dataset, left = data.datasets[Split.TRAIN], [batch]

    class Failing(dataset.__class__):  # type: ignore[misc, name-defined]
        def __getitems__(self, visits: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise OSError("the disk went away")
            return super().__getitems__(visits)

    dataset.__class__ = Failing


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": {"kind": "plateau", "patience": 0, "least_gain": 1.0, "factor": 0.5}, "ema_decay": 0.9},
        {"schedule": {"kind": "one_cycle"}, "mixing": {"mixup": 0.3, "cutmix": 1.0}, "accumulate": 2},
        {"schedule": {"kind": "cosine"}, "accumulate": 2, **AUXILIARY},
    ],
    ids=["plateau", "one cycle, mixing, accumulation", "auxiliary, accumulation"],
)
def test_it_goes_on_bit_for_bit(settings: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    """With balanced sampling, from the middle of the third epoch."""
    chosen = settings | {"epochs": 4, "checkpoint_steps": 2}

    def fit(folder: Path, failing: int = 0) -> Fitted:
        data = make_data(cache, IMAGES, ndim=2, seed=SEED, balance="lesion")
        if failing:
            crash_at(data, failing)
        return train(folder, cache, data=data, **chosen)

    whole = fit(tmp_path / "whole")
    with pytest.raises(OSError, match="disk"):
        fit(tmp_path / "stopped", failing=12)
    assert fit(tmp_path / "stopped") == whole
    ours, theirs = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("stopped", "whole"))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(tensor, theirs["state_dict"][name]) for name, tensor in ours["state_dict"].items())
    assert ours["lr_schedulers"] == theirs["lr_schedulers"]
    if settings["schedule"]["kind"] == "plateau":
        rates = [entry["learning_rate"] for entry in whole.history]
        assert rates == pytest.approx([3e-3, 1.5e-3, 0.75e-3, 0.375e-3])


def test_messages_name_a_case_with_the_one_it_is_mixed_with(cache: Path, tmp_path: Path) -> None:
    classifier = network()
    classifier.backbone.stem.conv.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match=r"cases of this step: C\d+ with C\d+, C\d+ with C\d+"):
        train(tmp_path, cache, classifier=classifier, mixing={"mixup": 0.3})


def test_accumulated_steps_are_means_over_their_cases(cache: Path, tmp_path: Path) -> None:
    """30 cases in batches of 8, 8, 7 and 7, three a step: the second step has one batch, and its gradient is whole."""
    manifest = IMAGES.model_copy(update={"cases": IMAGES.cases[2:]})
    data = make_data(cache, manifest, ndim=2, seed=SEED, augmentation=AugmentationSettings(shift=0, intensity_scale=0))
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "gradient_clip": 0.0, "class_weights": "none"}
    still = {"schedule": {"kind": "constant"}, "warmup_epochs": 0, "learning_rate": 0.5}
    train(
        tmp_path,
        cache,
        classifier=network(norm="group"),
        data=data,
        manifest=manifest,
        epochs=1,
        accumulate=3,
        **plain,
        **still,
    )
    found = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    expected, loss = network(norm="group"), FindingsLoss(FINDINGS)
    batches = list(data.train_dataloader())
    assert [len(batch.case_id) for batch in batches] == [8, 8, 7, 7]
    for step in (batches[:3], batches[3:]):
        expected.zero_grad()
        image, label = (torch.cat([batch[part] for batch in step]) for part in (0, 1))
        loss(expected(image), label).backward()
        with torch.no_grad():
            for parameter in expected.parameters():
                parameter -= 0.5 * parameter.grad
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(found[f"classifier.{name}"], parameter, atol=1e-5, rtol=1e-4)


def test_statistics_beside_averaged_weights_fit_them(cache: Path, tmp_path: Path) -> None:
    """They are those of the weights themselves, near those that the averaged weights make on the training cases."""
    train(tmp_path, cache, epochs=6, ema_decay=0.9)
    state = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    averaged = network()
    averaged.load_state_dict(
        {
            name.removeprefix("averaged.module."): tensor
            for name, tensor in state.items()
            if name.startswith("averaged.module.")
        }
    )
    kept = {name: tensor.clone() for name, tensor in averaged.named_buffers() if "running" in name}
    assert all(torch.equal(tensor, state[f"classifier.{name}"]) for name, tensor in kept.items())
    for module in averaged.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over batches
    fresh = {name: tensor.clone() for name, tensor in averaged.named_buffers() if "running" in name}
    with torch.no_grad():
        for batch in make_data(cache, IMAGES, ndim=2, seed=SEED).train_dataloader():
            averaged.train()(batch.image)
    made = dict(averaged.named_buffers())

    def distance(statistics: dict[str, torch.Tensor]) -> float:
        return float(
            np.mean([float((tensor - made[name]).norm() / made[name].norm()) for name, tensor in statistics.items()])
        )

    assert distance(kept) < 0.3 < distance(fresh)


def test_sampling_and_class_weights_do_not_both_make_up_for_rare_classes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the images has no lesion; visited equally often, both classes weigh alike."""
    made: list[FindingsLoss] = []
    monkeypatch.setattr(fitting, "training_loss", lambda *given: made.append(training_loss(*given)) or made[-1])
    data = make_data(cache, IMAGES, ndim=2, seed=SEED, balance="lesion")
    train(tmp_path, cache, data=data, epochs=1)
    assert made[0].get_buffer("weights_0").tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(("every", "saves"), [(2, [3, 6]), (3, [3, 6]), (4, [6]), (7, [])])
def test_saves_that_are_due_among_accumulated_batches_come_behind_their_step(
    every: int, saves: list[int], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight batches of four, three a step; the end of the epoch saves by itself."""
    done: list[int] = []
    monkeypatch.setattr(KeepLast, "_save", lambda self, trainer: done.append(trainer.fit_loop.batch_idx + 1))
    data = make_data(cache, IMAGES, ndim=2, seed=SEED, batch_size=4)
    train(tmp_path, cache, data=data, epochs=1, accumulate=3, checkpoint_steps=every)
    assert done == [*saves, 8]
