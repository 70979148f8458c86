"""torch.compile: taken only where it is faster and right; a compiled training learns what an eager one learns."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest
from pydantic import ValidationError
from torch._dynamo.exc import TorchDynamoException

from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.journal import NullJournal
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.checkpoints import best_weights
from pipeline.training.fitting import WATCHED, fit
from pipeline.training.losses import FindingsLoss
from pipeline.training.precision import Candidate, PrecisionChoice, Trial, choose_precision
from pipeline.training.precision.compiler import compiled, compiled_where_possible
from pipeline.training.precision.compiling import prove_compiled
from pipeline.training.precision.proving import InThisProcess, Try
from pipeline.training.precision.rehearsal import Rehearsal
from pipeline.training.precision.table import precision_table
from pipeline.training.run_folder import CHECKPOINTS
from pipeline.training.settings import TrainingSettings

NETWORK = NetworkSettings.model_validate(
    {"backbone": {"kind": "resnet", "depth": 10, "width": 8, "stem": "medium", "stochastic_depth": 0.2}, "dropout": 0.3}
)
EAGER = PrecisionChoice(precision="bf16-mixed", layout="channels_last", kept=("stem.conv",), reason="fast")


def answering(seconds: float, problem: str = "") -> tuple[list[Candidate], Try]:
    """Stands for the trials, of which only the compiled one differs."""
    asked: list[Candidate] = []

    def attempt(candidates: Sequence[Candidate]) -> list[Trial]:
        asked.extend(candidates)
        return [
            Trial(**one._asdict(), seconds=seconds if one.compiled else 1.0, problem=problem if one.compiled else "")
            for one in candidates
        ]

    return asked, attempt


@pytest.mark.parametrize(("seconds", "problem", "taken"), [(0.8, "", True), (0.95, "", False), (0.1, "wrong", False)])
def test_only_what_is_faster_and_right_is_taken(seconds: float, problem: str, taken: bool) -> None:
    asked, attempt = answering(seconds, problem)
    choice = prove_compiled(EAGER, lambda: nullcontext(attempt))
    assert choice.compiled is taken
    assert (choice.precision, choice.layout, choice.kept) == (EAGER.precision, EAGER.layout, EAGER.kept)
    assert asked[0].precision == "32", "float32 is what the others are held against"
    assert asked[1][:3] == asked[2][:3] and [one.compiled for one in asked] == [False, False, True]
    assert ("wrong" if problem else f"{seconds:.3f} s, in the same minute 1.000 s") in choice.reason
    assert (", compiled" in precision_table(choice).splitlines()[2]) is taken


def test_several_devices_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs devices: 1"):
        TrainingSettings.model_validate({"compile": "auto", "devices": 2})


def make_step() -> tuple[torch.nn.Module, FindingsLoss, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    classifier = build_classifier(NETWORK, FINDINGS, 2, 1)
    labels = torch.zeros(6, len(FINDINGS), dtype=torch.int64)
    labels[::2] = 1
    return classifier, FindingsLoss(FINDINGS), torch.randn(6, 1, 28, 28), labels


def test_a_compiled_network_draws_and_computes_what_it_does_without(tmp_path: Path) -> None:
    """The compiler itself, through the proof that a run makes: dropout and stochastic depth are on."""
    step = make_step()
    choice = choose_precision("32", "contiguous", *step, torch.device("cpu"), tmp_path, try_compiled=True)
    trial = choice.trials[-1]
    assert trial.compiled and not trial.problem, choice.reason
    assert trial.gradient_error < 1e-3 and trial.loss_change < 1e-5


def test_a_size_that_was_not_seen_is_compiled_anew() -> None:
    classifier, _, images, _ = make_step()
    classifier.eval()
    forward = compiled(classifier)
    for part in (images, images[:5]):
        torch.testing.assert_close(forward(part), classifier(part), atol=1e-5, rtol=1e-5)


def test_a_compiled_training_learns_what_an_eager_one_does(tmp_path: Path) -> None:
    """Two batch sizes, averaged weights, gradients by depth watched every third step; the weights keep their names."""
    manifest = make_manifest(train=23, ndim=2)
    labels = {split: encode_labels(manifest.of(split), FINDINGS) for split in Split}
    changes = {"epochs": 2, "accelerator": "cpu", "ema_decay": 0.9, "depth_watch": {"every": 3}}
    histories, weights = [], []
    for compile_steps in (False, True):
        torch.manual_seed(5)
        classifier = build_classifier(NETWORK, FINDINGS, 2, 1)
        folder = tmp_path / f"compiled {compile_steps}"
        fitted = fit(
            classifier,
            make_data(tmp_path / "cache", manifest, ndim=2),
            TrainingSettings.model_validate(changes),
            labels=labels,
            folder=folder,
            precision=PrecisionChoice(reason="test", compiled=compile_steps),
            journal=NullJournal(),
            seed=0,
        )
        histories.append([[row["train/loss"], row["val/loss"]] for row in fitted.history])
        weights.append(best_weights(folder / CHECKPOINTS, fitted.best_epoch))
        watched = next((folder / WATCHED).glob("*.csv")).read_text(encoding="utf-8")
        assert "ratio" in watched and ",," not in watched.splitlines()[-1]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3)
    assert list(weights[0]) == list(weights[1])
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), "the compiler took part"


def test_without_a_compiler_a_trial_says_so_and_a_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that chose to compile may go on where there is none."""

    def broken(*arguments: object, **options: object) -> object:
        def run(images: torch.Tensor) -> torch.Tensor:
            raise TorchDynamoException("No working C++ compiler found\nand much more")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    classifier, loss, images, labels = make_step()
    rehearsal = Rehearsal(classifier, loss, images, labels, torch.device("cpu"))
    choice = prove_compiled(PrecisionChoice(reason="given"), lambda: nullcontext(InThisProcess(rehearsal)))
    assert not choice.compiled and choice.reason.endswith("it does not compile: No working C++ compiler found")
    classifier.eval()
    forward = compiled_where_possible(classifier)
    for _ in range(2):
        torch.testing.assert_close(forward(images), classifier(images))
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]
