"""Runs the classifiers of a package eagerly, one image at a time."""

import logging
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.engines.averaging import answer_each
from pipeline.engines.engine import Answer
from pipeline.engines.half import check_half
from pipeline.errors import ConfigError
from pipeline.machine import crawls_in_bfloat16
from pipeline.networks.classifier import Classifier
from pipeline.networks.layout import lay_out
from pipeline.package.package import ModelPackage

log = logging.getLogger("resdx")

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


class TorchEngine:
    """Implements :class:`pipeline.engines.engine.Engine` with PyTorch.

    Parameters
    ----------
    package : ModelPackage
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``32`` or ``bf16``.
    threads : int
        CPU threads of the whole process; 0 leaves them alone.

    Attributes
    ----------
    classifiers : list of Classifier
        The members, on the device.

    Raises
    ------
    ConfigError
        If CUDA is asked for and there is none.
    EngineError
        If bf16 gives wrong answers here.
    """

    name = "torch"

    def __init__(self, package: ModelPackage, *, device: str = "cpu", precision: str = "32", threads: int = 0) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            problem = (
                "device: cuda is asked for, or a folder was begun with it, and this machine has none, expected cpu"
            )
            raise ConfigError("engine", [problem])
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._half = precision == "bf16"
        if self._half and self._device.type == "cpu" and crawls_in_bfloat16():
            log.warning("torch bf16: this processor cannot compute in bfloat16; engine.precision=32 is far faster.")
        self._flips = package.tta_flips
        self._outputs = package.outputs
        # volumes gain by it in bfloat16 (a third of the time); in float32 they lose a tenth where AVX2 is all
        last = self._half and package.plan.ndim == 3
        self._layout = torch.channels_last_3d if last else torch.contiguous_format
        self.classifiers = [classifier.to(self._device) for classifier in package.build_classifiers()]
        self._features = self.classifiers[0].backbone.features
        for classifier in self.classifiers:
            lay_out(classifier, self._layout)
            if self._half:
                half, full = (partial(self._run, classifier, half=half) for half in (True, False))
                check_half(half, full, (package.plan.channels, *package.plan.size), self.name)
                _halve(classifier)

    def answer(self, images: NDArray[np.float32]) -> Answer:
        """See :meth:`pipeline.engines.engine.Engine.answer`."""
        members = [partial(self._run, classifier, half=self._half) for classifier in self.classifiers]
        return answer_each(members, images, flips=self._flips, outputs=self._outputs, features=self._features)

    def _run(self, classifier: Classifier, image: NDArray[np.float32], half: bool) -> NDArray[np.float32]:
        # a copy: prepared images may be read-only memory maps, which torch cannot share safely
        batch = torch.tensor(image, device=self._device).contiguous(memory_format=self._layout)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            # cuDNN's default TF32 would keep only ten bits of the mantissa; its autotuner may pick another kernel a run
            flags = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
            stack.enter_context(torch.backends.cudnn.flags(**flags))
            if half:
                stack.enter_context(torch.autocast(self._device.type, dtype=torch.bfloat16))
            rows: NDArray[np.float32] = classifier.forward_rows(batch).float().cpu().numpy()
        return rows


def _halve(classifier: Classifier) -> None:
    """Round the weights once that autocast would round at every call, to the same bits; heads stay in float32."""
    for module in classifier.backbone.modules():
        if isinstance(module, CONVOLUTIONS):
            module.to(torch.bfloat16)
