"""One training step: ours against a bare PyTorch loop, and our defaults against a plain MONAI script.

``python tests/benchmarks/training_step.py`` from the root of a clone, on a machine that does nothing else; all its
cores are used (``OMP_NUM_THREADS`` says how many). ``--quick`` runs every row on tiny inputs and writes nothing.

Ours is :func:`pipeline.training.fitting.fit` as ``resdx train`` calls it: Lightning, all callbacks with their defaults,
checkpoints. The rival makes its step on each batch before ours gets it, so that both meet the same moments of the
machine. Its step is timed from the batch to the new weights; ours from the batch until Lightning asks for the next one.

Writes section "training_step" of RESULTS.md.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pytorch_lightning as pl
import torch
from benchmarks.residual_speed import make_networks
from benchmarks.results import table, write_section
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from pipeline.data.batch import Batch
from pipeline.domain.case import Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.journal import NullJournal
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.layout import lay_out
from pipeline.networks.settings import NetworkSettings
from pipeline.training.finetuning.rates import parameter_groups
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.fitting import fit
from pipeline.training.losses import FindingsLoss
from pipeline.training.optimizers import make_optimizer
from pipeline.training.precision import PrecisionChoice, choose_precision
from pipeline.training.precision.choice import HALF
from pipeline.training.precision.kept import keep_in_float32
from pipeline.training.settings import TrainingSettings

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
CPU = torch.device("cpu")

WARM_UP = 2
"""Steps at the start that are not counted."""

Step = Callable[[Batch], None]


class Beside(pl.LightningDataModule):
    """One batch again and again; before ours gets it, the rival makes its step on it."""

    def __init__(self, batch: Batch, steps: int, rival: Step) -> None:
        super().__init__()
        self.batch, self.steps, self.rival = batch, steps, rival
        self.ours: list[float] = []
        self.theirs: list[float] = []

    def train_dataloader(self) -> Any:
        return _Turns(self)

    def val_dataloader(self) -> Any:
        return DataLoader([self.batch], batch_size=None)


class _Turns:
    """Iterates over the batches, and takes the times."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    def __len__(self) -> int:
        return self._beside.steps

    def __iter__(self) -> Iterator[Batch]:
        beside = self._beside
        for number in range(beside.steps):
            began = time.perf_counter()
            beside.rival(beside.batch)
            handed = time.perf_counter()
            yield beside.batch
            if number >= WARM_UP:
                beside.theirs.append(handed - began)
                beside.ours.append(time.perf_counter() - handed)


def make_batch(cases: int, space: tuple[int, ...]) -> Batch:
    """Random images; every second one has the finding."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.arange(cases) % 2)[:, None]
    return Batch(torch.randn(cases, 1, *space, generator=generator), labels, [f"case{n}" for n in range(cases)])


def make_classifier(ndim: int, depth: int, width: int) -> Classifier:
    """The backbone that :mod:`benchmarks.residual_speed` compares, with our head."""
    torch.manual_seed(0)
    backbone = {"kind": "resnet", "depth": depth, "width": width, "stem": "medium"}
    return build_classifier(NetworkSettings.from_mapping({"backbone": backbone}), [LESION], ndim, 1)


def bare(classifier: Classifier, settings: TrainingSettings, choice: PrecisionChoice, steps: int) -> Step:
    """A loop that anyone writes: the same network, precision, optimizer, schedule and clipping, and nothing else."""
    network = copy.deepcopy(classifier).train()
    memory_format = choice.memory_format(network.backbone.ndim)
    loss_of = FindingsLoss([LESION])
    groups = parameter_groups(network, Tuning(settings.finetune, network, 1), 1e-3, settings.weight_decay)
    optimizer = make_optimizer("adamw", groups, settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        dtype = HALF.get(choice.precision)
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss = loss_of(network(batch.image.contiguous(memory_format=memory_format)), batch.label)
        loss.backward()
        clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        schedule.step()

    return step


def plain(network: nn.Module) -> Step:
    """A script in fp32 with a contiguous layout, as MONAI's tutorials have it."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(network(batch.image), batch.label[:, 0])
        loss.backward()
        optimizer.step()

    return step


def in_turns(
    classifier: Classifier, batch: Batch, choice: PrecisionChoice, rival: Step, steps: int
) -> tuple[float, float]:
    """Median seconds of a step: ours, the rival's."""
    beside = Beside(batch, steps + WARM_UP, rival)
    labels = {split: batch.label.numpy().astype(np.int64) for split in Split}
    settings = TrainingSettings(epochs=1, accelerator="cpu", warmup_epochs=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            classifier,
            beside,
            settings,
            labels=labels,
            folder=Path(folder),
            precision=choice,
            journal=NullJournal(),
            seed=0,
        )
    return statistics.median(beside.ours), statistics.median(beside.theirs)


def lay_out_as(classifier: Classifier, choice: PrecisionChoice) -> Classifier:
    """A copy as training has it, for the bare loop."""
    network = copy.deepcopy(classifier)
    lay_out(network, choice.memory_format(network.backbone.ndim))
    keep_in_float32(network, choice.kept)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=9, help="of the large network; the small one makes 20 times more")
    parser.add_argument("--quick", action="store_true", help="tiny inputs; writes nothing")
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    given = parser.parse_args()
    volumes = ((32, (28, 28, 28)), (4, (64, 64, 64)))
    if given.quick:
        volumes, given.steps = ((2, (8, 8, 8)), (2, (12, 12, 12))), 2
    rows, notes = [], []
    for cases, space in volumes:
        work = f"3D ResNet-18, {cases} x {space[0]} cubed"
        classifier, batch = make_classifier(3, 18, 64), make_batch(cases, space)
        choice = choose_precision("auto", "auto", classifier, FindingsLoss([LESION]), batch.image, batch.label, CPU)
        kept = f" ({len(choice.kept)} layers in fp32)" if choice.kept else ""
        notes.append(f"{work}: {choice.precision}, {choice.layout}{kept}: {choice.reason}")
        if (cases, space) == volumes[0]:
            for fixed in {choice.precision: choice, "32": PrecisionChoice(reason="given")}.values():
                loop = bare(lay_out_as(classifier, fixed), TrainingSettings(), fixed, given.steps + WARM_UP)
                seconds = in_turns(copy.deepcopy(classifier), batch, fixed, loop, given.steps)
                rows.append(_row(work, fixed, "bare loop", seconds))
        monai = plain(make_networks()["MONAI"])
        rows.append(_row(work, choice, "MONAI, fp32", in_turns(classifier, batch, choice, monai, given.steps)))
    small, images = make_classifier(2, 10, 16), make_batch(32, (28, 28))
    fixed, steps = PrecisionChoice(reason="given"), 20 * given.steps
    loop = bare(lay_out_as(small, fixed), TrainingSettings(), fixed, steps + WARM_UP)
    seconds = in_turns(small, images, fixed, loop, steps)
    rows.append(_row("2D ResNet-10, width 16, 32 x 28 squared", fixed, "bare loop", seconds))
    body = table(("work", "ours", "rival", "ours, s", "rival, s", "ours / rival"), rows)
    remarks = (f"{torch.get_num_threads()} threads, medians of {given.steps} steps in turns", *notes, *given.remark)
    if given.quick:
        print(body, *remarks, sep="\n")
    else:
        title = "A training step: Lightning and our callbacks, and our defaults"
        print(write_section("training_step", title, body, ("torch", "monai", "pytorch-lightning"), remarks=remarks))


def _row(work: str, choice: PrecisionChoice, rival: str, seconds: tuple[float, float]) -> tuple[str, ...]:
    ours, theirs = seconds
    row = (work, f"{choice.precision}, {choice.layout}", rival, f"{ours:.4f}", f"{theirs:.4f}", f"{ours / theirs:.3f}")
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
