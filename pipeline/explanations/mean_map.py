"""The heatmap of a package: the mean over its networks and mirror images of what a method shows."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.domain.flips import flip_combinations
from pipeline.errors import ConfigError, RejectedInput
from pipeline.explanations.network_maps import NetworkMaps
from pipeline.explanations.stage_map import Method
from pipeline.explanations.targets import Target, target_of
from pipeline.networks.classifier import Classifier
from pipeline.networks.layout import lay_out


class MeanMap:
    """Implements :class:`pipeline.explanations.explainer.Explainer` for every method.

    As the logits of an ensemble are the mean of its members' logits over mirror images, its heatmap is the mean of
    their heatmaps, each turned back.

    Parameters
    ----------
    method : Method
    classifiers : sequence of Classifier
        Members, all with the same findings. They are laid out and put into evaluation mode, their weights kept.
    flips : sequence of int
        Spatial axes over whose mirror images the package averages.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        method: Method,
        classifiers: Sequence[Classifier],
        flips: Sequence[int] = (),
        *,
        device: str = "cpu",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("explain", ["device: cuda is asked for and this machine has none, expected cpu or auto"])
        where = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._method = method
        self._findings = classifiers[0].findings
        self._flips = flip_combinations(flips)
        is_3d = classifiers[0].backbone.ndim == 3
        self._layout = torch.channels_last_3d if is_3d else torch.contiguous_format
        for classifier in classifiers:
            lay_out(classifier.to(where), self._layout)
        self._members = [NetworkMaps(classifier) for classifier in classifiers]

    def heatmap(self, image: NDArray[np.float32], finding: str, label: str) -> NDArray[np.float32]:
        """See :meth:`pipeline.explanations.explainer.Explainer.heatmap`."""
        assert image.dtype == np.float32, image.dtype
        target = target_of(self._findings, finding, label)
        heat = np.zeros(image.shape[1:], dtype=np.float64)
        for member in self._members:
            for axes in self._flips:
                heat += np.flip(self._one(member, np.flip(image, tuple(axis + 1 for axis in axes)), target), axes)
        most = float(heat.max())
        if not np.isfinite(most):
            message = "the network's answer to this scan cannot be explained: it is not a finite number"
            raise RejectedInput("NOT_FINITE", message, stage="predict", remedy="Check the scan's intensities.")
        return (heat / most if most > 0 else heat).astype(np.float32)

    def _one(self, member: NetworkMaps, image: NDArray[np.float32], target: Target) -> NDArray[np.float32]:
        # cuDNN's default TF32 would keep only ten bits of the mantissa; its autotuner may pick another kernel a run
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self._method(member.read(image, target, self._layout), image.shape[1:])
