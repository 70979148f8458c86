"""Few wrong layers stay in float32 and save half precision; many do not."""

import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.trainings import network, train
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.domain.finding import Finding, FindingKind
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.checkpoints import BEST, load_weights
from pipeline.training.losses import FindingsLoss
from pipeline.training.precision import Candidate, PrecisionChoice, Trial, decide
from pipeline.training.precision.kept import InFloat32, keep_in_float32, suspects
from pipeline.training.precision.proving import InThisProcess, prove_with
from pipeline.training.precision.rehearsal import Rehearsal
from pipeline.training.precision.table import precision_table
from pipeline.training.run_folder import CHECKPOINTS

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SETTINGS = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 10, "width": 8}})
CPU = torch.device("cpu")
CANDIDATES = [Candidate("32", "contiguous"), Candidate("bf16-mixed", "contiguous")]


class Poisoned(torch.autograd.Function):
    """A weight whose gradient has an infinite entry."""

    @staticmethod
    def forward(context: Any, weight: Tensor) -> Tensor:
        return weight.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        poisoned = gradient.clone()
        poisoned.view(-1)[0] = torch.inf
        return poisoned


class FaultyInHalf(nn.Conv2d):
    """A convolution whose weight gradient a kernel gets wrong in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        weight = Poisoned.apply(self.weight) if torch.is_autocast_enabled("cpu") else self.weight
        return self._conv_forward(x, weight, self.bias)


class Timed(InThisProcess):
    """Takes the times of a machine where half precision is fast."""

    def __call__(self, candidates: Sequence[Candidate]) -> list[Trial]:
        seconds = {"32": 1.0, "bf16-mixed": 0.1}
        return [t.model_copy(update={"seconds": seconds[t.precision]}) for t in super().__call__(candidates)]


def make_classifier(faulty: Sequence[str] = ()) -> Classifier:
    torch.manual_seed(0)
    classifier = build_classifier(SETTINGS, [LESION], 2, 1)
    for name in faulty:
        classifier.get_submodule(name).__class__ = FaultyInHalf
    return classifier


def choose(classifier: Classifier) -> PrecisionChoice:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 1, 20, 20, generator=generator), torch.arange(8)[:, None] % 2
    rehearsal = Rehearsal(classifier, FindingsLoss([LESION]), images, labels, CPU)
    return decide(prove_with(Timed(rehearsal), classifier, CANDIDATES), "a test")


def convolutions(classifier: Classifier) -> list[str]:
    return [name for name, module in classifier.named_modules() if isinstance(module, nn.Conv2d)]


def test_one_faulty_layer_stays_in_float32_and_half_precision_is_taken() -> None:
    faulty = "backbone.stages.2.0.conv2"
    choice = choose(make_classifier([faulty]))
    assert (choice.precision, choice.kept) == ("bf16-mixed", (faulty,))
    assert [trial.kept for trial in choice.trials] == [(), (), (faulty,)]
    assert choice.trials[1].wrong == (f"{faulty}.weight",)
    assert "not finite (1 of" in choice.trials[1].problem
    assert not choice.trials[2].problem
    assert 0 < choice.trials[2].gradient_error < 0.5
    assert PrecisionChoice.model_validate_json(choice.model_dump_json()) == choice
    assert faulty in choice.note
    table = precision_table(choice)
    assert f"`{faulty}`" in table
    assert table.count("\n| bf16-mixed | contiguous |") == 2


def test_many_faulty_layers_leave_32() -> None:
    classifier = make_classifier()
    choice = choose(make_classifier(convolutions(classifier)))
    assert (choice.precision, choice.kept) == ("32", ())
    assert "are not" in choice.reason
    assert len(choice.trials) == 2  # they are not even tried again


def test_a_fault_that_shows_later_adds_its_layer() -> None:
    first, second = "backbone.stages.1.0.conv2", "backbone.stages.3.0.conv2"
    wrong = [(f"{first}.weight",), (f"{second}.weight",), ()]
    asked: list[tuple[str, ...]] = []

    def attempt(candidates: Sequence[Candidate]) -> list[Trial]:
        found = []
        for candidate in candidates:
            if candidate.precision == "32":
                found.append(Trial(**candidate._asdict(), seconds=1.0))
                continue
            asked.append(candidate.kept)
            names = wrong[len(asked) - 1]
            found.append(Trial(**candidate._asdict(), seconds=0.1, wrong=names, problem="wrong" if names else ""))
        return found

    classifier = make_classifier([first, second])
    choice = decide(prove_with(attempt, classifier, CANDIDATES), "a test")
    assert asked[:2] == [(), (first,)]
    assert set(asked[2]) == set(choice.kept) == {first, second}


def test_layers_alike_are_suspected_together() -> None:
    classifier = build_classifier(
        NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 18, "width": 8}}), [LESION], 3, 1
    )
    alike = tuple(f"backbone.stages.3.{layer}" for layer in ("0.conv2", "1.conv1", "1.conv2"))
    assert suspects(classifier, ["backbone.stages.3.1.conv1.weight"]) == alike
    assert suspects(classifier, []) == ()


@pytest.mark.parametrize("how", ["itself", "copied", "pickled", "averaged"])
def test_a_kept_layer_computes_in_float32_under_its_own_name(how: str) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    names = list(network.state_dict())
    keep_in_float32(network, ["1"])
    keep_in_float32(network, ["1"])
    if how == "copied":
        network = copy.deepcopy(network)
    elif how == "pickled":
        file = io.BytesIO()
        torch.save(network, file)
        file.seek(0)
        network = torch.load(file, weights_only=False)
    elif how == "averaged":
        network = AveragedModel(network).module
    assert list(network.state_dict()) == names
    seen: list[torch.dtype] = []
    for layer in network:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    x = torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x)
        hidden = network[0](x)
        expected = torch.nn.functional.linear(hidden.float(), network[1].weight.float(), network[1].bias)
        assert torch.is_autocast_enabled("cpu")
    assert seen[:3] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert expected.dtype == torch.bfloat16  # as it would be if it was not kept
    out.float().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert InFloat32.covers(network[1])
    assert network[1].forward.before is None
    assert network[1].forward.module is network[1]


def test_a_training_keeps_what_was_chosen_and_nothing_of_it_in_the_weights(tmp_path: Path) -> None:
    kept = "backbone.stages.1.0.conv1"
    classifier = network()
    names = set(classifier.state_dict())
    seen: list[torch.dtype] = []
    classifier.get_submodule(kept).register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    choice = PrecisionChoice(precision="bf16-mixed", kept=(kept,), reason="test")
    fitted = train(tmp_path / "run", tmp_path / "cache", classifier=classifier, precision=choice, epochs=1)
    assert len(fitted.history) == 1
    assert set(seen) == {torch.float32}
    assert set(load_weights(tmp_path / "run" / CHECKPOINTS / BEST)) == names
