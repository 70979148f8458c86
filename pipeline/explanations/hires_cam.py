"""HiResCAM of every stage, fused: sharper than Grad-CAM.

HiResCAM multiplies a map with its gradients place by place and adds up the channels, where Grad-CAM first takes the
mean of the gradients (Draelos and Carin 2020, *Use HiResCAM instead of Grad-CAM for faithful explanations*). On the
last map of a network that ends in a mean, as ours do, both agree; on finer maps the means are of no use. Deep maps know
what is meant and not quite where, shallow ones where and not quite what: the geometric mean over the maps behind the
stem and every stage is hot only where all of them speak for the class.

The other candidate was LayerCAM (Jiang et al. 2021), which takes positive gradients alone and fuses by the maximum; on
planted lesions it put more of its heat elsewhere (section "saliency" of ``tests/benchmarks/RESULTS.md``).
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


TINY = float(np.finfo(np.float32).tiny)
"""Divides a map on which nothing speaks for the class, so that it stays 0."""


class Config(MethodSettings):
    """Settings of the fused HiResCAM."""

    kind: Literal["hires_cam"] = "hires_cam"

    def build(self, package: "ModelPackage") -> "Explainer":
        """Make the explainer; see :meth:`MethodSettings.explainer`."""
        return self.explainer(package, hires_cam)


def hires_cam(stages: Sequence[StageMap], size: tuple[int, ...]) -> Floats:
    """Heat of an image from all maps of a network; see :data:`pipeline.explanations.stage_map.Method`."""
    heat = np.ones(size, dtype=np.float32)
    for stage in stages:
        fine = onto_image(_positive(stage), size)
        heat *= (fine / max(float(fine.max()), TINY)) ** (1 / len(stages))
    return heat


def _positive(stage: StageMap) -> Floats:
    """Sum what speaks for the class at each place of a map, shape (*smaller space)."""
    summed: Floats = np.einsum("f...,f...->...", stage.gradients, stage.activations)
    return np.maximum(0.0, summed)
