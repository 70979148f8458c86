"""What is measured of the training cases helps to train the network, and is no part of what comes out."""

import math
from pathlib import Path

import pytest
import torch
from phantoms.spheres import make_case
from phantoms.trainings import AUXILIARY, MEASURED, Memory, network, train
from pydantic import ValidationError

from pipeline.domain.case import Case, Split
from pipeline.errors import TrainingError
from pipeline.training.auxiliary import Auxiliary, measures_beside
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.checkpoints import load_checkpoint, load_weights
from pipeline.training.settings import TrainingSettings


def cases_with(*values: str, name: str = "volume") -> list[Case]:
    cases = [make_case(number, Split.TRAIN, 2) for number in range(len(values))]
    return [case.model_copy(update={"covariates": {name: text}}) for case, text in zip(cases, values, strict=True)]


VOLUME = AuxiliarySettings(covariates=("volume",))


def test_measurements_are_standard_deviations_from_the_mean_of_what_is_known() -> None:
    found = measures_beside(VOLUME, cases_with("1", " 3.0", "", "5e0"))
    assert found is not None
    by_hand = [-math.sqrt(1.5), 0.0, math.nan, math.sqrt(1.5)]
    assert torch.cat([found[f"C{number}"] for number in range(4)]).tolist() == pytest.approx(by_hand, nan_ok=True)
    assert measures_beside(AuxiliarySettings(), cases_with("1")) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1", "4,5", "12 mm", "1_0"], r"no number in 3 of 4 training cases, such as '4,5' \(C1\), '12 mm' \(C2\)"),
        (["1", "inf", "3"], r"'inf' \(C1\)"),
        (["1", "nan", "3"], r"'nan' \(C1\)"),
        (["", "", "3"], "volume is known of 1 of 3 training cases"),
        (["2", "2", ""], "volume is the same in all of 3 training cases"),
        (["1e-99", "2e-99", "3e-99"], "the same in all"),
        (["", "", ""], "no training case has the covariate volume; the manifest has none"),
    ],
)
def test_what_teaches_nothing_stops(values: list[str], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        measures_beside(VOLUME, cases_with(*values))


def test_a_name_that_nobody_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(TrainingError, match="no training case has the covariate volume; the manifest has Volume"):
        measures_beside(VOLUME, cases_with("1", "2", name="Volume"))


@pytest.mark.parametrize("names", [("a", "a"), ("",)])
def test_names_stand_once(names: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="an empty name, or one twice"):
        AuxiliarySettings(covariates=names)


def test_errors_of_what_is_known_are_summed_and_nothing_is_drawn_at_random() -> None:
    measures = {"a": torch.tensor([1.0, math.nan]), "b": torch.tensor([-1.0, 3.0])}
    torch.manual_seed(0)
    auxiliary = Auxiliary(AuxiliarySettings(covariates=("x", "y"), weight=0.5), 3, measures)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    features = torch.zeros(2, 3, requires_grad=True)
    assert auxiliary(features, ["a", "b"]).item() == pytest.approx(1 + 1 + 9)
    assert auxiliary.known(["a", "b"]).tolist() == [3]
    auxiliary.head.weight.data.fill_(1.0)
    auxiliary(features, ["a", "b"]).backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad[:, 0], 2 * torch.tensor([-1.0, 1.0 - 3.0]))


def test_it_learns_what_can_be_seen_and_leaves_no_trace_in_the_weights(tmp_path: Path) -> None:
    """The side of a blob is told better and better; the classifier has the names of one that learns nothing else."""
    chosen = {"auxiliary": {"covariates": MEASURED[:1], "weight": 2.0}, "ema_decay": 0.5, "learning_rate": 0.02}
    journal = Memory()
    fitted = train(tmp_path / "run", tmp_path / "cache", journal=journal, epochs=20, **chosen)
    errors = [entry["train/auxiliary"] for entry in fitted.history]
    assert errors[0] == pytest.approx(1, rel=0.25), "a head that knows nothing errs by the variance"
    assert errors[-1] < 0.85 * errors[0]
    assert journal.having("train/auxiliary")[20]["train/auxiliary"] == errors[-1]
    assert load_weights(tmp_path / "run" / "checkpoints" / "last.ckpt").keys() == network().state_dict().keys()


def test_parts_of_a_batch_learn_what_the_whole_learns(tmp_path: Path) -> None:
    """Gradients of findings and measurements are means over the whole batch, in which some are unknown."""
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
