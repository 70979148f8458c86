"""What is measured of the training cases helps to train the network, and is no part of what comes out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms.spheres import make_case
from phantoms.trainings import AUXILIARY, IMAGES, MEASURED, Memory, measured, network, train
from pydantic import ValidationError

from pipeline.domain.case import Case, Split
from pipeline.errors import TrainingError
from pipeline.training.auxiliary import Auxiliary, measures_of
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.checkpoints import load_checkpoint, load_weights
from pipeline.training.settings import TrainingSettings


def cases_with(*values: str, name: str = "volume") -> list[Case]:
    cases = [make_case(number, Split.TRAIN, 2) for number in range(len(values))]
    return [case.model_copy(update={"covariates": {name: text}}) for case, text in zip(cases, values, strict=True)]


def test_measurements_are_standard_deviations_from_the_mean_of_what_is_known() -> None:
    found = measures_of(cases_with("1", " 3.0", "", "5e0"), ["volume"])
    by_hand = [-math.sqrt(1.5), 0.0, math.nan, math.sqrt(1.5)]
    assert torch.cat([found[f"C{number}"] for number in range(4)]).tolist() == pytest.approx(by_hand, nan_ok=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1", "large", "3"], r"volume of case C1 is 'large', which is no number"),
        (["1", "inf", "3"], "no number"),
        (["1", "nan", "3"], "no number"),
        (["", "", "3"], "volume is known of 1 of 3 training cases"),
        (["2", "2", ""], "volume is the same in all of 3 training cases"),
    ],
)
def test_what_teaches_nothing_stops(values: list[str], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        measures_of(cases_with(*values), ["volume"])


def test_the_error_is_the_mean_over_measurements_and_the_sum_over_cases() -> None:
    measures = {"a": torch.tensor([1.0, math.nan]), "b": torch.tensor([-1.0, 3.0])}
    auxiliary = Auxiliary(AuxiliarySettings(covariates=("x", "y"), weight=0.5), 3, measures)
    features = torch.zeros(2, 3, requires_grad=True)
    assert float(auxiliary(features, ["a", "b"])) == pytest.approx(0.5 * (1 + 1 + 9) / 2)
    auxiliary.head.weight.data.fill_(1.0)
    auxiliary(features, ["a", "b"]).backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad[:, 0], 0.5 * 2 * torch.tensor([-1.0, 1.0 - 3.0]) / 2)


def test_it_learns_what_can_be_seen_and_leaves_no_trace_in_the_weights(tmp_path: Path) -> None:
    """The side of a blob is told better and better; the classifier has the names of one that learns nothing else."""
    chosen = {"auxiliary": {"covariates": MEASURED[:1], "weight": 1.0}, "ema_decay": 0.5, "learning_rate": 0.02}
    journal = Memory()
    fitted = train(tmp_path / "run", tmp_path / "cache", journal=journal, epochs=20, **chosen)
    errors = [entry["train/auxiliary"] for entry in fitted.history]
    known = np.mean([bool(case.covariates["side"]) for case in measured(IMAGES.of(Split.TRAIN))])
    assert errors[0] == pytest.approx(known, rel=0.25), "a head that knows nothing errs by the variance"
    assert errors[-1] < 0.85 * errors[0]
    assert journal.having("train/auxiliary")[20]["train/auxiliary"] == errors[-1]
    assert load_weights(tmp_path / "run" / "checkpoints" / "last.ckpt").keys() == network().state_dict().keys()


def test_parts_of_a_batch_learn_what_the_whole_learns(tmp_path: Path) -> None:
    """One step by hand, too: gradients of findings and measurements over all cases of the batch, unknown ones in it."""
    still = {"schedule": {"kind": "constant"}, "warmup_epochs": 0, "learning_rate": 0.5, "gradient_clip": 0.0}
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "epochs": 1} | still | AUXILIARY
    found = {}
    for most in (8, 3):
        folder = tmp_path / str(most)
        train(folder, tmp_path / "cache", classifier=network(norm="group"), micro_batch=most, **plain)
        found[most] = load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert found[8].keys() == found[3].keys() and "auxiliary.head.weight" in found[8]
    for name, tensor in found[8].items():
        torch.testing.assert_close(found[3][name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert not torch.equal(found[8]["auxiliary.head.weight"], torch.zeros_like(found[8]["auxiliary.head.weight"]))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"mixing": {"mixup": 0.2}}, "mixing off"),
        ({"compile": "auto"}, "compile: off"),
        ({"strategy": "fsdp"}, "auto or ddp"),
    ],
)
def test_what_it_was_not_proven_with_is_refused(other: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainingSettings.model_validate(AUXILIARY | other)
