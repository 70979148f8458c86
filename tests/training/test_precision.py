"""Half precision is taken only where it was proven."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.crashing import EndsItsProcess
from torch import Tensor, nn

from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.losses import FindingsLoss
from pipeline.training.precision import (
    Candidate,
    PrecisionChoice,
    Trial,
    apart,
    choose_precision,
    choosing,
    decide,
    prove,
)
from pipeline.training.precision.given import decide_given, settle_given
from pipeline.training.precision.proving import InThisProcess
from pipeline.training.precision.rehearsal import Rehearsal

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SETTINGS = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 10, "width": 8}})
CPU = torch.device("cpu")
CANDIDATES: Any = [("32", "contiguous"), ("bf16-mixed", "contiguous"), ("bf16-mixed", "channels_last")]


class BreaksInHalf(torch.autograd.Function):
    """Identity whose gradient is infinite, or turned round, once it was computed in bfloat16."""

    @staticmethod
    def forward(context: Any, x: Tensor, how: str) -> Tensor:
        context.how = how if x.dtype == torch.bfloat16 else ""
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        factor = {"": 1.0, "inf": float("inf"), "turned": -1.0}[context.how]
        return gradient * factor, None


class Broken(nn.Module):
    def __init__(self, inner: Classifier, how: str) -> None:
        super().__init__()
        self.inner = inner
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        maps = BreaksInHalf.apply(self.inner.forward_features(x), self.how)
        return self.inner.forward_head(maps)


def sample() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 1, 20, 20, generator=generator), torch.arange(8)[:, None] % 2


def make_classifier() -> Classifier:
    torch.manual_seed(0)
    return build_classifier(SETTINGS, [LESION], 2, 1)


def faster_half(trials: tuple[Trial, ...]) -> list[Trial]:
    """The trials as they would be on a machine where half precision is fast."""
    return [t.model_copy(update={"seconds": 1.0 if t.precision == "32" else 0.1}) for t in trials]


@pytest.mark.parametrize(("how", "said"), [("inf", "is not finite"), ("turned", "is wrong by ")])
def test_a_gradient_that_breaks_in_half_precision_leaves_32(how: str, said: str) -> None:
    trials = prove(CANDIDATES, Broken(make_classifier(), how), FindingsLoss([LESION]), *sample(), CPU)
    assert not trials[0].problem
    assert all(said in trial.problem for trial in trials[1:])
    choice = decide(faster_half(trials), "a test")
    assert choice.precision == "32"
    assert said in choice.reason


def test_a_sound_model_is_trusted_and_the_fastest_taken() -> None:
    # in 2D, for the 3D gradients of some processors are not sound in bfloat16
    trials = prove(CANDIDATES, Broken(make_classifier(), ""), FindingsLoss([LESION]), *sample(), CPU)
    assert [trial.problem for trial in trials] == ["", "", ""]
    assert all(0 < trial.loss_change < 0.05 or trial.precision == "32" for trial in trials)
    choice = decide(faster_half(trials), "a test")
    assert choice.precision == "bf16-mixed"
    assert decide([t.model_copy(update={"seconds": 1.0}) for t in trials], "a test").precision == "32"


def test_branches_that_start_at_zero_are_proven_too() -> None:
    class BreaksInside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return BreaksInHalf.apply(x.bfloat16(), "inf").to(x.dtype)  # type: ignore[no-any-return]

    classifier = make_classifier()
    sound, broken = make_classifier(), classifier.backbone.stages[3][0]
    broken.conv2 = nn.Sequential(BreaksInside(), broken.conv2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 20, 20, generator=generator)
    classifier(x).sum().backward()
    assert not broken.conv1.weight.grad.isfinite().all() or not broken.conv1.weight.grad.any()
    trials = prove([("32", "contiguous")], classifier, FindingsLoss([LESION]), *sample(), CPU)
    assert "not finite" in trials[0].problem
    assert not prove([("32", "contiguous")], sound, FindingsLoss([LESION]), *sample(), CPU)[0].problem


@pytest.mark.parametrize("preactivation", [False, True])
def test_a_wrong_gradient_behind_a_layer_that_starts_at_zero_is_found(preactivation: bool) -> None:
    class TurnsInHalf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.is_autocast_enabled("cpu"):
                return x
            return BreaksInHalf.apply(x.bfloat16(), "turned")  # type: ignore[no-any-return]

    torch.manual_seed(0)
    settings = {"backbone": {"kind": "resnet", "depth": 10, "width": 8, "preactivation": preactivation}}
    classifier = build_classifier(NetworkSettings.from_mapping(settings), [LESION], 2, 1)
    block = classifier.backbone.stages[2][0]
    assert not block.last_layer.weight.any()
    block.conv2 = nn.Sequential(TurnsInHalf(), block.conv2)
    trials = prove(CANDIDATES[:2], classifier, FindingsLoss([LESION]), *sample(), CPU)
    assert "is wrong by" in trials[1].problem


def test_one_wrong_tensor_among_many_is_found() -> None:
    """A finite but wrong gradient of a single small tensor drowns in the whole; each tensor is judged."""

    class WrongInHalf(nn.Module):
        def __init__(self, inner: Classifier) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            weight = self.inner.backbone.stages[1][0].conv1.weight
            if torch.is_autocast_enabled("cpu"):
                weight.register_hook(torch.zeros_like)
            logits: Tensor = self.inner(x)
            return logits

    trials = prove(CANDIDATES[:2], WrongInHalf(make_classifier()), FindingsLoss([LESION]), *sample(), CPU)
    assert "inner.backbone.stages.1.0.conv1.weight is wrong by 1.00" in trials[1].problem


def test_a_candidate_that_ends_its_process_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "fast_precisions", lambda device: ("bf16-mixed",))
    classifier = EndsItsProcess(make_classifier())
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    state = torch.get_rng_state()
    choice = choose_precision("auto", "auto", classifier, FindingsLoss([LESION]), *sample(), CPU)
    assert [trial.problem for trial in choice.trials] == ["", "", "", "its process died"]
    assert [trial.precision for trial in choice.trials] == ["32", "bf16-mixed"] * 2
    assert 0 < choice.trials[1].gradient_error < 0.5
    assert choice.trials[2].gradient_error < 1e-3
    assert (choice.precision, choice.layout) != ("bf16-mixed", "channels_last")
    # the model and the random state are left alone
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_nothing_is_compared_with_a_float32_that_did_not_come_to_an_end(tmp_path: Path) -> None:
    rehearsal = Rehearsal(make_classifier(), FindingsLoss([LESION]), *sample(), CPU)
    torch.save(rehearsal, tmp_path / apart.REHEARSAL)
    candidate = Candidate("bf16-mixed", "contiguous")
    alone = apart._tried(tmp_path, 1, candidate)
    assert "no float32" in alone.problem and not alone.usable
    assert not apart._tried(tmp_path, 1, Candidate("32", "channels_last")).problem
    assert not apart._tried(tmp_path, 1, candidate).problem
    died = Trial(precision="32", layout="contiguous", seconds=0.0, problem="its process died")
    lived = Trial(precision="32", layout="channels_last", seconds=1.0)
    assert decide([died, lived], "a test").layout == "channels_last"


def given(wanted: str, layout: str, classifier: nn.Module, folder: Path | None = None) -> PrecisionChoice:
    return choose_precision(wanted, layout, classifier, FindingsLoss([LESION]), *sample(), CPU, folder)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are tried in this process, for speed."""
    monkeypatch.setattr(choosing, "_trying", lambda rehearsal, folder: nullcontext(InThisProcess(rehearsal)))


def test_float32_is_taken_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_trying", lambda rehearsal, folder: pytest.fail("there is nothing to prove"))
    choice = given("32", "auto", make_classifier())
    assert (choice.precision, choice.layout, choice.reason, choice.trials) == ("32", "contiguous", "given", ())
    meta = torch.device("cuda")
    assert settle_given(Candidate("16-mixed", "contiguous"), meta, pytest.fail).precision == "16-mixed"


def test_a_processor_that_is_given_float16_trains_in_bfloat16_and_says_so(here: None) -> None:
    choice = given("16-mixed", "auto", make_classifier())
    assert (choice.precision, choice.layout) == ("bf16-mixed", "contiguous")
    assert "16-mixed was given" in choice.note
    assert [trial.precision for trial in choice.trials] == ["32", "bf16-mixed"]


def test_a_given_precision_whose_gradient_is_not_finite_is_refused(here: None) -> None:
    with pytest.raises(TrainingError, match=r"is not finite .* Set plan\.precision=auto"):
        given("bf16-mixed", "auto", Broken(make_classifier(), "inf"))
    choice = given("bf16-mixed", "auto", Broken(make_classifier(), "turned"))  # wrong, but the user's own choice
    assert choice.precision == "bf16-mixed" and "is wrong by" in choice.note


def test_a_given_layout_that_ends_its_process_gives_way(tmp_path: Path) -> None:
    (tmp_path / apart.TRIED_IN).mkdir()
    (tmp_path / apart.TRIED_IN / "images of a run that was killed").touch()
    choice = given("bf16-mixed", "channels_last", EndsItsProcess(make_classifier()), tmp_path)
    assert (choice.precision, choice.layout) == ("bf16-mixed", "contiguous")
    assert "channels_last was given too and refused: its process died" in choice.note
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_what_a_failed_proof_of_a_given_pair_leads_to(layout: Any) -> None:
    safe = Trial(precision="32", layout="contiguous", seconds=1.0)
    died = Trial(precision="32", layout="channels_last", seconds=0.0, problem="its process died", usable=False)
    assert decide_given(Candidate("32", "channels_last"), (safe, died)).layout == "contiguous"
    worse = died.model_copy(update={"precision": "bf16-mixed", "layout": layout})
    both = (safe, worse, worse.model_copy(update={"layout": "contiguous"}))
    with pytest.raises(TrainingError, match="its process died"):
        decide_given(Candidate("bf16-mixed", layout), both)


def test_a_killed_process_leaves_no_images_where_nobody_looks(tmp_path: Path) -> None:
    rehearsal = Rehearsal(make_classifier(), FindingsLoss([LESION]), *sample(), CPU)
    with apart.apart(rehearsal, tmp_path):
        (held,) = tmp_path.iterdir()
        assert held.stat().st_mode & 0o077 == 0 and (held / apart.REHEARSAL).is_file()
    assert not any(tmp_path.iterdir())


def test_layouts() -> None:
    choice = PrecisionChoice(layout="channels_last", reason="")
    assert choice.memory_format(3) is torch.channels_last_3d
    assert choice.memory_format(2) is torch.channels_last
    assert PrecisionChoice(reason="").memory_format(3) is torch.contiguous_format


def test_what_rounding_does_is_told_as_such() -> None:
    half = Trial(precision="bf16-mixed", layout="contiguous", seconds=0.25, loss_change=0.0004, gradient_error=0.121)
    assert half.text == (
        "bf16-mixed, contiguous: 0.250 s; the loss differs by 0.04%, the gradient of the worst weights by 12%, "
        "as rounding makes it"
    )
    assert "rounding" not in Trial(precision="32", layout="channels_last", seconds=0.5, gradient_error=0.121).text
    assert "rounding" not in half.model_copy(update={"gradient_error": 0.4}).text
