"""A batch in parts is the same step; memory that runs out makes parts smaller and leaves no other trace."""

from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.trainings import Memory, network, train
from torch import nn

from pipeline.errors import TrainingError
from pipeline.networks.shortage import is_out_of_memory
from pipeline.training.checkpoints import load_checkpoint
from pipeline.training.parts import KEPT, Parts
from pipeline.training.settings import TrainingSettings

GROUP = {"norm": "group"}
SETTINGS: dict[str, Any] = {"ema_decay": 0.9, "optimizer": "sgd", "checkpoint_steps": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def state(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return found


def short_of_memory(classifier: nn.Module, most: int, after: int, error: Exception, *, backward: bool) -> list[int]:
    """Let memory hold `most` cases at once from the training pass `after` on; returns the sizes of all passes."""
    passes: list[int] = []

    def check(module: nn.Module, arguments: Any, output: torch.Tensor) -> None:
        if not (module.training and torch.is_grad_enabled()):
            return
        passes.append(len(output))
        if len(output) > most and len(passes) > after:
            if not backward:
                raise error
            output.register_hook(fail)

    def fail(gradient: torch.Tensor) -> None:
        raise error

    classifier.register_forward_hook(check)
    return passes


@pytest.mark.parametrize("settings", [{}, {"mixing": {"mixup": 0.4}, "accumulate": 3}], ids=["plain", "mixed"])
def test_parts_make_the_step_of_the_whole_batch(settings: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    histories = [
        train(
            tmp_path / str(most), cache, classifier=network(**GROUP), **SETTINGS, **settings, micro_batch=most
        ).history
        for most in ("auto", 3)
    ]
    for one, other in zip(*histories, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    whole, parts = (state(tmp_path / name) for name in ("auto", "3"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "backward", "after"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True, 5),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), False, 2),
        (MemoryError(), False, 6),
    ],
)
def test_memory_that_runs_out_halves_the_parts_and_nothing_else(
    error: Exception, backward: bool, after: int, cache: Path, tmp_path: Path
) -> None:
    journal, classifier = Memory(), network(**GROUP)
    passes = short_of_memory(classifier, 3, after, error, backward=backward)
    fitted = train(tmp_path / "short", cache, classifier=classifier, journal=journal, **SETTINGS)
    alone = train(tmp_path / "alone", cache, classifier=network(**GROUP), **SETTINGS)
    assert passes[after : after + 2] == [8, 4] and set(passes[after + 2 :]) == {2}
    for one, other in zip(fitted.history, alone.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    for name, tensor in state(tmp_path / "alone").items():
        torch.testing.assert_close(state(tmp_path / "short")[name], tensor, rtol=1e-4, atol=1e-6)
    assert "at most 2 went through the network" in fitted.warnings[-1] == journal.tagged["resdx.memory"]
    assert Parts(tmp_path / "short" / "checkpoints").begin(8) == [slice(n, n + 2) for n in range(0, 8, 2)]


def test_one_case_that_does_not_fit_is_told(cache: Path, tmp_path: Path) -> None:
    classifier = network()
    short_of_memory(classifier, 0, 0, MemoryError(), backward=False)
    with pytest.raises(TrainingError, match="one case at a time"):
        train(tmp_path, cache, classifier=classifier)


def test_other_errors_are_not_taken_for_a_lack_of_memory(cache: Path, tmp_path: Path) -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not fit")) and not is_out_of_memory(OSError("memory"))
    classifier = network()
    short_of_memory(classifier, 0, 0, RuntimeError("shapes do not fit"), backward=False)
    with pytest.raises(RuntimeError, match="shapes"):
        train(tmp_path, cache, classifier=classifier)
    assert not (tmp_path / "checkpoints" / KEPT).exists()


@pytest.mark.parametrize(
    ("cases", "most", "sizes"), [(8, None, [8]), (8, 3, [3, 3, 2]), (7, 2, [2, 2, 2, 1]), (1, 4, [1])]
)
def test_parts_are_of_nearly_equal_size(cases: int, most: int | None, sizes: list[int], tmp_path: Path) -> None:
    parts = Parts(tmp_path, most).begin(cases)
    assert [part.stop - part.start for part in parts] == sizes
    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(cases))


@pytest.mark.parametrize("settings", [{"micro_batch": 2}, {"ema_decay": 0.9}])
def test_shared_out_weights_are_refused_what_needs_whole_ones(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} needs strategy: auto or ddp"):
        TrainingSettings.model_validate(settings | {"strategy": "fsdp"})
