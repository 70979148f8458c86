"""Says in words whether a network came to know its training cases better than others, and what stood against it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline import atomic
from pipeline.backbones.residual_settings import ResidualSettings
from pipeline.data.draws import OCCASIONAL
from pipeline.data.settings import AugmentationSettings
from pipeline.domain.journal import Journal
from pipeline.domain.plan import Plan
from pipeline.networks.settings import NetworkSettings
from pipeline.training.settings import TrainingSettings
from pipeline.training.watch.overfitting import GAP, HIGH, LOW, TRAIN_LOSS

TEXT = "overfitting.txt"
ARTIFACTS = "overfitting"

RISEN = 0.05
"""Share of its lowest value by which validation loss must have risen at the end to be called risen."""

Epoch = Mapping[str, float]


class Against(NamedTuple):
    """What the plan and the settings did against overfitting.

    Attributes
    ----------
    done : tuple of str
        Each in words, those that are off too.
    open : tuple of str
        What could be done that was not.
    """

    done: tuple[str, ...]
    open: tuple[str, ...]


def overfitting_words(history: Sequence[Epoch], best_epoch: int, cases: str, against: Against) -> tuple[str, ...]:
    """Sentences on the gap; none where nothing was measured.

    Parameters
    ----------
    history : sequence of mapping
        See :attr:`pipeline.training.callbacks.Recorder.history`.
    best_epoch : int
        That of the model package, from 1.
    cases : str
        What was compared, in words.
    """
    measured = [entry for entry in history if GAP in entry]
    if not measured:
        return ()
    last = measured[-1]
    lowest = min(measured, key=lambda entry: entry["val/loss"])
    risen = last["val/loss"] > lowest["val/loss"] * (1 + RISEN) and last[TRAIN_LOSS] < lowest[TRAIN_LOSS]
    apart = LOW in last and last[LOW] > 0
    lines = [f"{_what_happened(lowest, last, risen, apart)} (training and validation loss measured alike on {cases})."]
    best = next((entry for entry in measured if entry["epoch"] == best_epoch), None)
    if best is not None and best is not last:
        lines.append(f"The model is that of epoch {best_epoch}: {_gap(best)}.")
    lines.append(f"Against overfitting: {'; '.join(against.done)}.")
    if risen or apart:
        lines.append(f"You could: {'; '.join(against.open)}.")
    return tuple(lines)


def keep(words: Sequence[str], folder: Path, journal: Journal) -> None:
    """Write the sentences to the run, if there are any."""
    if words:
        atomic.write_text(folder / TEXT, "\n".join(words) + "\n")
        journal.artifact(folder / TEXT, ARTIFACTS)
        journal.tags({"resdx.overfitting": words[0]})


def what_stood_against(
    plan: Plan, network: NetworkSettings, augmentation: AugmentationSettings, training: TrainingSettings
) -> Against:
    """List depth, stochastic depth, dropout, augmentation, weight decay and early stopping, on or off."""
    done, still_open = list(_of_network(plan, network)), ["more training cases"]
    backbone = network.backbone
    if isinstance(backbone, ResidualSettings):
        still_open.append("fewer layers")
        if backbone.residual and not backbone.stochastic_depth:
            still_open.append("network.backbone.stochastic_depth=0.2")
    if not network.dropout:
        still_open.append("network.dropout=0.3")
    done.append(_augmentation(augmentation))
    if not augmentation.flip_axes:
        still_open.append("data.augmentation.flip_axes where the side does not matter")
    if not augmentation.interpolates:
        still_open.append("data.augmentation.rotation=10 and scale=0.1")
    done += [
        _on("weight decay", training.weight_decay),
        _on("label smoothing", training.label_smoothing),
        _on("mixup", training.mixing.mixup),
        _on("cutmix", training.mixing.cutmix),
        _on("averaged weights", training.ema_decay),
        _on("early stopping", training.early_stopping, " epochs"),
    ]
    still_open.append(f"a training.weight_decay above {training.weight_decay:g}")
    if training.monitor == "last":
        still_open.append("training.monitor=auto, which keeps the best epoch")
    elif not training.early_stopping:
        still_open.append("training.early_stopping=10, which saves time only: the best epoch is kept anyway")
    return Against(tuple(done), tuple(still_open))


def _what_happened(lowest: Epoch, last: Epoch, risen: bool, apart: bool) -> str:
    if risen:
        return (
            f"Overfitting: validation loss rose from epoch {lowest['epoch']:.0f} on, {lowest['val/loss']:.3f} to "
            f"{last['val/loss']:.3f}, while training loss fell, {lowest[TRAIN_LOSS]:.3f} to {last[TRAIN_LOSS]:.3f}; "
            f"{_gap(last)} at the end"
        )
    if apart:
        return f"Validation loss did not rise, but stands above training loss: {_gap(last)} at the end"
    return f"No overfitting was seen: {_gap(last)} at the end"


def _gap(entry: Epoch) -> str:
    interval = f" ({entry[LOW]:.3f} to {entry[HIGH]:.3f})" if LOW in entry else ""
    return f"gap {entry[GAP]:.3f}{interval}"


def _of_network(plan: Plan, network: NetworkSettings) -> Iterator[str]:
    backbone = network.backbone
    if isinstance(backbone, ResidualSettings):
        reason = next((decision.reason for decision in plan.decisions if decision.name == "depth"), "")
        because = f" because {reason}" if backbone.depth == plan.depth and reason not in ("", "given") else " as given"
        yield f"depth {backbone.depth}{because}"
        yield _on("stochastic depth", backbone.stochastic_depth)
        yield _on("dropout in blocks", backbone.dropout)
    yield _on("dropout before the heads", network.dropout)


def _augmentation(settings: AugmentationSettings) -> str:
    flips = f"flips of axes {', '.join(map(str, settings.flip_axes))}" if settings.flip_axes else ""
    strengths = {
        "shift": settings.shift,
        "rotation": settings.rotation,
        "scale": settings.scale,
        "contrast": settings.intensity_scale,
        "brightness": settings.intensity_shift,
        "noise": settings.noise,
    } | {name.replace("_", " "): getattr(settings, name) for name in OCCASIONAL if settings.occasional_probability}
    used = [flips] * bool(flips) + [f"{name} {value:g}" for name, value in strengths.items() if value]
    return f"augmentation by {' and '.join(used)}" if used else "augmentation off"


def _on(name: str, value: float, unit: str = "") -> str:
    return f"{name} {value:g}{unit}" if value else f"{name} off"
