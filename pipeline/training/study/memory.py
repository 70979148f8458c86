"""Peak memory of one training step, measured in the process that makes it."""

import threading
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from pipeline.backbones.settings import BackboneSettings
from pipeline.domain.encoding import label_slices
from pipeline.domain.finding import Finding
from pipeline.networks.classifier import Classifier
from pipeline.training.losses import FindingsLoss

PROC = Path("/proc/self")
FORGET_PEAK = "5"
"""What, written to clear_refs, sets the peak that Linux keeps back to what is held now."""

SAMPLE_SECONDS = 0.005
"""How often memory is looked at where the system keeps no peak."""


class Step(NamedTuple):
    """A step to make: which network, on how much."""

    backbone: BackboneSettings
    findings: tuple[Finding, ...]
    batch: tuple[int, ...]
    threads: int


def peak_of_step(step: Step) -> int:
    """Bytes that two training steps (the first one makes the optimizer's state) take at most, on random images.

    Give it a fresh process: it counts from what that holds when it is called. On a GPU it is the memory of tensors.
    """
    torch.set_num_threads(step.threads)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        _train(step, torch.device("cuda"))
        return int(torch.cuda.max_memory_allocated())
    _train(step._replace(batch=(2, *step.batch[1:])), torch.device("cpu"))  # libraries load what they need
    with _Peak() as peak:
        _train(step, torch.device("cpu"))
    return peak.bytes


def _train(step: Step, device: torch.device) -> None:
    classifier = Classifier(step.backbone.build(len(step.batch) - 2, step.batch[1]), step.findings).to(device).train()
    loss = FindingsLoss(step.findings).to(device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-3, momentum=0.9)
    labels = torch.zeros((step.batch[0], label_slices(step.findings)[-1].stop), dtype=torch.int64, device=device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        loss(classifier(torch.randn(step.batch, device=device)), labels).backward()
        optimizer.step()


class _Peak:
    """Most memory held within a block, beyond what was held at its start: the system's own figure, or sampled."""

    def __enter__(self) -> "_Peak":
        self.bytes = 0
        self._own = psutil.Process()
        self._start = int(self._own.memory_info().rss)
        self._stop = threading.Event()
        self._kept = self._forget()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        if not self._kept:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._kept:
            self.bytes = _kept_peak() - self._start
        else:
            self._thread.join()

    def _forget(self) -> bool:
        try:
            (PROC / "clear_refs").write_text(FORGET_PEAK, encoding="ascii")
        except OSError:
            return False
        return True

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, int(self._own.memory_info().rss) - self._start)


def _kept_peak() -> int:
    """VmHWM of this process, in bytes."""
    lines = (PROC / "status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
