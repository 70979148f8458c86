"""When gradients count as vanishing or exploding, in which stage, and what helps.

The measure is the norm of a stage's gradient as a share of the norm of its weights, so that a thin stem and a wide last
stage can be compared. In healthy networks (18 to 110 layers, batch or group norm, with and without zero-initialised
branches) the stages lie between 0.3 and 160 times the last one, and below 10 in themselves; plain networks of 56 layers
lie at 3,000 times, those of 110 at a million.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.backbones.blocks import Block
from pipeline.backbones.operators import NORMS
from pipeline.backbones.preactivation import PreActivationBlock
from pipeline.backbones.slice_network import ATTENTION
from pipeline.networks.classifier import HEADS, Classifier
from pipeline.training.settings import TrainingSettings
from pipeline.training.watch.measures import DepthRecord

Kind = Literal["vanishing", "exploding"]

VANISHED = 1e-3
"""Of the largest of the later stages: a stage learns a thousand times slower than what follows it."""

EXPLODED = 1e3
"""Times the last stage: no learning rate fits both."""

OVERTURNING = 1e2
"""Times the weights: a plain step at a learning rate of 0.01 would replace them all."""

NOT_JUDGED = frozenset({HEADS, ATTENTION})
"""They weigh what the stages have found, and start at zero or near it by design: no stage is measured by them."""

REPEATS = 2
"""Measurements in a row before a relation between stages is told: one batch may be odd, and so is the first step of
zero-initialised branches. What is not finite or overturns the weights is told at once."""


@dataclass(frozen=True)
class Symptom:
    """A stage whose gradients are not healthy.

    Attributes
    ----------
    figures : str
        What was measured, in words.
    certain : bool
        Told at once; else after :data:`REPEATS` measurements.
    """

    stage: str
    kind: Kind
    figures: str
    certain: bool


def symptoms(record: DepthRecord, *, scaled: bool = False) -> tuple[Symptom, ...]:
    """Judge one measurement; stages without gradients (frozen) are not judged.

    Parameters
    ----------
    scaled : bool
        A gradient scaler looks for its scale by steps that overflow and are skipped: they are told where they repeat.
    """
    return tuple(_symptoms(record, scaled))


def _symptoms(record: DepthRecord, scaled: bool) -> Iterator[Symptom]:
    norms = {stage: norm for stage, norm in record.by_stage(record.gradient).items() if stage not in NOT_JUDGED}
    shares = {stage: share for stage, share in record.per_weight(record.gradient).items() if stage in norms}
    broken = [stage for stage, norm in norms.items() if not math.isfinite(norm)]
    for stage in broken:
        yield Symptom(stage, "exploding", f"{stage}: the gradient is not finite", certain=not scaled)
    if broken:
        return
    alive = record.by_stage(record.gradient).get(HEADS, 0.0) > 0 or any(norms.values())
    order = list(shares)
    last = order[-1] if order else ""
    for number, stage in enumerate(order):
        share = shares[stage]
        later = max((shares[name] for name in order[number + 1 :]), default=0.0)
        if alive and share == 0:
            yield Symptom(stage, "vanishing", f"{stage}: the gradient is 0", certain=False)
        elif share < VANISHED * later:
            words = f"{stage}: {share:.1e} of its weights, {share / later:.1e} of the later stages' largest"
            yield Symptom(stage, "vanishing", words, certain=False)
        elif share > OVERTURNING:
            yield Symptom(stage, "exploding", f"{stage}: {share:.1e} times its weights", certain=True)
        elif 0 < EXPLODED * shares[last] < share:
            words = f"{stage}: {share:.1e} of its weights, {share / shares[last]:.1e} times {last}"
            yield Symptom(stage, "exploding", words, certain=False)


def remedies(kind: Kind, classifier: Classifier, settings: TrainingSettings) -> tuple[str, ...]:
    """List what may help this network; nothing that it does already."""
    modules = list(classifier.backbone.modules())
    residual = any(isinstance(module, Block) and module.shortcut is not None for module in modules)
    found = []
    if not residual:
        found.append("network.backbone.residual=true")
    if not any(isinstance(module, NORMS) for module in modules):
        found.append("network.backbone.norm=batch (or group for small batches)")
    if residual and not any(isinstance(module, PreActivationBlock) for module in modules):
        found.append("network.backbone.preactivation=true if it is deep")
    found.append("fewer layers")
    found.append(f"a longer training.warmup_epochs than {settings.warmup_epochs:g}")
    found.append(f"a lower training.learning_rate than {settings.learning_rate:g}")
    if kind == "exploding" and not settings.gradient_clip:
        found.append("training.gradient_clip=1")
    return tuple(found)


class Watchman:
    """Tells each stage and kind once.

    Attributes
    ----------
    told : list of str
        Every message so far.
    """

    def __init__(self, classifier: Classifier, settings: TrainingSettings, *, scaled: bool = False) -> None:
        self.told: list[str] = []
        self.stages: dict[Kind, list[str]] = {"vanishing": [], "exploding": []}
        self._in_a_row: dict[str, int] = {}
        self._classifier = classifier
        self._settings = settings
        self._scaled = scaled

    def look(self, record: DepthRecord) -> tuple[str, ...]:
        """Messages that are new with this measurement, one for each kind."""
        found = symptoms(record, scaled=self._scaled)
        self._in_a_row = {_key(symptom): self._in_a_row.get(_key(symptom), 0) + 1 for symptom in found}
        messages = []
        for kind, known in self.stages.items():
            new = [
                symptom
                for symptom in found
                if symptom.kind == kind
                and symptom.stage not in known
                and (symptom.certain or self._in_a_row[_key(symptom)] >= REPEATS)
            ]
            if new:
                known += [symptom.stage for symptom in new]
                messages.append(self._message(kind, new, record.step))
        self.told += messages
        return tuple(messages)

    def state(self) -> dict[str, object]:
        """Plain values that a resumed run must know."""
        stages = {str(kind): list(known) for kind, known in self.stages.items()}
        return {"told": list(self.told), "stages": stages, "in_a_row": dict(self._in_a_row)}

    def restore(self, state: dict[str, object]) -> None:
        """See :meth:`state`."""
        told, stages, in_a_row = state["told"], state["stages"], state["in_a_row"]
        assert isinstance(told, list) and isinstance(stages, dict) and isinstance(in_a_row, dict)
        self.told, self._in_a_row = list(told), dict(in_a_row)
        self.stages = {"vanishing": list(stages["vanishing"]), "exploding": list(stages["exploding"])}

    def _message(self, kind: Kind, new: list[Symptom], step: int) -> str:
        verb = "vanish" if kind == "vanishing" else "explode"
        stages = ", ".join(symptom.stage for symptom in new)
        figures = "; ".join(symptom.figures for symptom in new)
        helps = ", ".join(remedies(kind, self._classifier, self._settings))
        return f"Gradients {verb} in {stages} (step {step}). {figures}. What may help: {helps}."


def _key(symptom: Symptom) -> str:
    return f"{symptom.kind} {symptom.stage}"
