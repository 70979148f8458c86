"""Train 1,001 layers: a pre-activation bottleneck network (9n+2) on MedNIST images, with and without checkpointing.

    python tests/benchmarks/deep_network.py --images mednist

Each run is a process of its own, so that its peak memory is its own. The network with checkpointing is trained; the
other makes as many steps as its memory needs to peak. Writes the section "deep_network" of RESULTS.md and the losses of
every step beside it.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.results import table, write_section
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.resnet import Config
from pipeline.training.schedules import WarmupCosine

CURVE = Path(__file__).with_name("deep_network.csv")
SIDE = 28
SHORT = 3
FIRST, LAST = slice(0, 20), slice(80, 100)


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """Images of MedNIST, (n, 1, 28, 28) in [-1, 1], and the number of their class."""
    images, labels = [], []
    for number, kind in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(kind.glob("*.jpeg")):
            picture = Image.open(path).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
            images.append(np.asarray(picture, dtype=np.float32) / 127.5 - 1)
            labels.append(number)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)


def train(given: argparse.Namespace) -> dict[str, object]:
    """Train one network in this process."""
    torch.manual_seed(given.seed)
    images, labels = load(given.images)
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = Config(
        depth=given.depth,
        width=given.width,
        preactivation=True,
        stem="small",
        checkpointing=given.run == "checkpointing",
    )
    backbone = config.build(2, 1)
    network = nn.Sequential(backbone, nn.Linear(backbone.features, int(labels.max()) + 1)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=given.rate, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupCosine(given.warmup, 10 * given.steps, 0.0))
    losses, began = [], time.perf_counter()
    for step in range(given.steps if config.checkpointing else SHORT):
        chosen = torch.randint(len(images), (given.batch,))
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        print(f"{given.run} step {step + 1}: {losses[-1]:.4f}", file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = sum(parameter.numel() for parameter in network.parameters())
    seconds = (time.perf_counter() - began) / len(losses)
    return {"losses": losses, "peak": peak, "baseline": baseline, "parameters": parameters, "seconds": seconds}


def in_a_process(run: str) -> dict[str, object]:
    """Run this script once more for one network."""
    command = [sys.executable, __file__, *sys.argv[1:], "--run", run]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of MedNIST: one folder of JPEG files a class"
    )
    parser.add_argument("--depth", type=int, default=1001)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    parser.add_argument("--run", choices=("checkpointing", "plain"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(train(given)))
        return
    kept, plain = in_a_process("checkpointing"), in_a_process("plain")
    losses = np.array(kept["losses"])
    with CURVE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("step", "loss"), *((n, f"{loss:.6f}") for n, loss in enumerate(losses, start=1))])
    assert np.allclose(losses[:SHORT], plain["losses"]), "checkpointing changed the loss"
    rows = [
        (
            name,
            str(len(found["losses"])),
            f"{found['peak'] / 2**20:.2f}",
            f"{(found['peak'] - found['baseline']) / 2**20:.2f}",
            f"{found['seconds']:.1f}",
        )
        for name, found in (("on", kept), ("off", plain))
    ]
    first, last = losses[FIRST].mean(), losses[LAST].mean()
    body = table(("checkpointing", "steps", "peak GiB", "of it the network's", "s a step"), rows) + (
        f"\n\nTraining loss, mean of steps 1 to 20: {first:.4f}; of steps 81 to 100: {last:.4f} "
        f"({100 * (last / first - 1):+.0f}%). The first {SHORT} losses are the same with and without checkpointing. "
        f"Every step stands in {CURVE.name}."
    )
    title = f"A network of {given.depth:,} layers"
    settings = (
        f"pre-activation, 9n+2, width {given.width}, {kept['parameters'] / 1e6:.2f} M parameters, "
        f"{SIDE} x {SIDE} pixels, batch {given.batch}, SGD with momentum, "
        f"rate {given.rate:g} after {given.warmup} steps of warm-up, seed {given.seed}"
    )
    print(write_section("deep_network", title, body, ("torch",), remarks=(settings, *given.remark)))


if __name__ == "__main__":
    main()
