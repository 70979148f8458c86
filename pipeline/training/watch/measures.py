"""One measurement of a training step by depth."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from pipeline.domain.frozen import Frozen
from pipeline.training.watch.places import Place

Figures = dict[str, float]


class DepthRecord(Frozen):
    """What one optimizer step showed. Places without gradients (frozen) or without a shortcut are absent, never 0.

    Attributes
    ----------
    step : int
        Optimizer step, from 1.
    stages : dict of str to str
        Stage of each place, in the order of depth.
    gradient : dict of str to float
        Norm of the gradient by place, of the whole step: averaged over accumulated batches and devices, without the
        scale of mixed precision, before clipping.
    weight : dict of str to float
        Norm of the weights before the step.
    update : dict of str to float
        Norm of what the step changed. Empty if it was not made.
    residual : dict of str to float
        ``|F(x)| / |x|`` where branch and shortcut meet.
    """

    step: int
    stages: dict[str, str]
    gradient: Figures
    weight: Figures
    update: Figures = {}
    residual: Figures = {}

    def by_stage(self, figures: Mapping[str, float]) -> Figures:
        """Norm over the places of each stage together."""
        found: dict[str, list[float]] = {}
        for place, stage in self.stages.items():
            if place in figures:
                found.setdefault(stage, []).append(figures[place])
        return {stage: math.hypot(*values) for stage, values in found.items()}

    def per_weight(self, figures: Mapping[str, float]) -> Figures:
        """By stage, as a share of the norm of its weights; absent where all weights are zero."""
        weights = self.by_stage(self.weight)
        return {stage: norm / weights[stage] for stage, norm in self.by_stage(figures).items() if weights[stage] > 0}

    def residual_by_stage(self) -> Figures:
        """Mean over the blocks of each stage."""
        found: dict[str, list[float]] = {}
        for place, ratio in self.residual.items():
            found.setdefault(self.stages[place], []).append(ratio)
        return {stage: sum(ratios) / len(ratios) for stage, ratios in found.items()}

    def metrics(self) -> Figures:
        """Name what is tracked: ``depth/KIND/STAGE``, kinds ``gradient``, ``residual_ratio`` and ``update_ratio``."""
        kinds = {
            "gradient": self.by_stage(self.gradient),
            "residual_ratio": self.residual_by_stage(),
            "update_ratio": self.per_weight(self.update),
        }
        return {f"depth/{kind}/{stage}": value for kind, figures in kinds.items() for stage, value in figures.items()}


class StepMeasure:
    """Takes the figures of one optimizer step: made before it, finished behind it.

    Parameters
    ----------
    step : int
    places : sequence of Place
        With gradients.
    residual : mapping of str to Tensor
        Ratios of the forward pass.
    """

    def __init__(self, step: int, places: Sequence[Place], residual: Mapping[str, Tensor]) -> None:
        self.step = step
        self._places = places
        self._residual = _read(residual)
        self._gradient = _norms(places, lambda place: [p.grad for p in place.parameters if p.grad is not None])
        self._weight = _norms(places, lambda place: [p.detach() for p in place.parameters])
        self._before = {
            place.name: [(p, p.detach().clone()) for p in place.parameters if p.grad is not None] for place in places
        }

    @property
    def finite(self) -> bool:
        """Whether all gradients are."""
        return all(math.isfinite(norm) for norm in self._gradient.values())

    @torch.no_grad()
    def finish(self, *, stepped: bool) -> DepthRecord:
        """Make the record; with `stepped` the weights have taken the step."""
        update: Figures = {}
        if stepped and self.finite:
            update = _norms(self._places, lambda place: [old.sub_(now) for now, old in self._before[place.name]])
        self._before.clear()
        return DepthRecord(
            step=self.step,
            stages={place.name: place.stage for place in self._places},
            gradient=self._gradient,
            weight=self._weight,
            update=update,
            residual=self._residual,
        )


def _norms(places: Sequence[Place], tensors_of: Callable[[Place], list[Tensor]]) -> Figures:
    """Euclidean norm of the tensors of each place that has any."""
    tensors = {place.name: tensors_of(place) for place in places}
    return _read({name: get_total_norm(group) for name, group in tensors.items() if group})


def _read(values: Mapping[str, Tensor]) -> Figures:
    """Numbers of one-element tensors, fetched from the device together."""
    if not values:
        return {}
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
