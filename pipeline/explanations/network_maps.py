"""Reads the maps of a classifier and the gradients of one logit, by hooks on the stages of its backbone."""

import threading
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.backbones.slice_network import ATTENTION, SliceNetwork
from pipeline.explanations.stage_map import Floats, StageMap
from pipeline.explanations.targets import Target
from pipeline.networks.classifier import Classifier


class NetworkMaps:
    """Stands by the stages of one classifier.

    The hooks keep what a stage gives out for the thread that asks, and do nothing at any other time. Gradients are
    taken with respect to maps, so that none is left at a weight.

    Parameters
    ----------
    classifier : Classifier
        Put into evaluation mode: norms take their running statistics.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier.eval()
        self._kept = threading.local()
        backbone = classifier.backbone
        self._slice_axis = backbone.axis if isinstance(backbone, SliceNetwork) else None
        for name, stage in backbone.named_stages().items():
            if name != ATTENTION:  # weights of slices are no map
                stage.register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, stage: nn.Module, args: object, out: Tensor) -> None:
        kept = getattr(self._kept, "maps", None)
        if kept is not None:
            kept[name] = out

    def read(self, image: NDArray[np.float32], target: Target, memory_format: torch.memory_format) -> list[StageMap]:
        """Run one image, shape (c, *space); return the maps of stem and stages, first to last, in float32."""
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(self._device.type, enabled=False):
            # a copy: prepared images may be read-only memory maps, which torch cannot share safely
            batch = torch.tensor(np.ascontiguousarray(image)[np.newaxis], device=self._device).contiguous(
                memory_format=memory_format
            )
            maps: dict[str, Tensor] = {}
            self._kept.maps = maps
            try:
                logits = self._classifier(batch.requires_grad_())
            finally:
                self._kept.maps = None
            found: list[Tensor] = list(maps.values())
            gradients = torch.autograd.grad(target.sign * logits[0, target.column], found)
        return [
            StageMap(self._of_case(values), self._of_case(slope), self._slice_axis)
            for values, slope in zip(found, gradients, strict=True)
        ]

    @property
    def _device(self) -> torch.device:
        return next(self._classifier.parameters()).device

    def _of_case(self, maps: Tensor) -> Floats:
        """(1, features, *space), or (slices, features, *space without their axis), to (features, *space)."""
        values: Floats = maps.detach().cpu().numpy()
        return values[0] if self._slice_axis is None else np.moveaxis(values, 0, self._slice_axis + 1)
