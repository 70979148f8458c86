"""Grad-CAM: channels of the last map, weighted by the mean of their gradients.

Selvaraju et al. 2017, *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, equations 1
and 2. Coarse, one value a cell of the last map, and the method that readers know. A network that goes over slices
weighs the channels in each slice by that slice's own gradients, which hold how much its attention counts it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.explanations.alignment import onto_image
from pipeline.explanations.method import MethodSettings
from pipeline.explanations.stage_map import Floats, StageMap

if TYPE_CHECKING:
    from pipeline.explanations.explainer import Explainer
    from pipeline.package.package import ModelPackage


class Config(MethodSettings):
    """Settings of Grad-CAM."""

    kind: Literal["grad_cam"] = "grad_cam"

    def build(self, package: "ModelPackage") -> "Explainer":
        """Make the explainer; see :meth:`MethodSettings.explainer`."""
        return self.explainer(package, grad_cam)


def grad_cam(stages: Sequence[StageMap], size: tuple[int, ...]) -> Floats:
    """Heat of an image from the last of its maps; see :data:`pipeline.explanations.stage_map.Method`."""
    last = stages[-1]
    weights = last.gradients.mean(axis=last.pooled_axes, keepdims=True)
    heat = np.maximum(0.0, (weights * last.activations).sum(axis=0))
    return onto_image(heat, size)
