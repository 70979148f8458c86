"""Our 3D ResNet-18 and MONAI's of the same shape: one training step and one inference, in turns.

    python tests/benchmarks/residual_speed.py

Both networks hold the same weights and see the same voxels; that their outputs agree is checked first. Writes the
section "residual_speed" of RESULTS.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from benchmarks.results import table, write_section
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.resnet import Config

BLOCKS, WIDTHS = [2, 2, 2, 2], [64, 128, 256, 512]
CLASSES = 2

PASSES = 5
"""Inferences of one turn, which alone would be too short to time on a shared machine."""


class Ours(nn.Module):
    """The backbone with the head that MONAI's network carries."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Config(depth=18, stem="medium", zero_init=False).build(3, 1)
        self.head = nn.Linear(self.backbone.features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(x))
        return logits


def make_networks() -> dict[str, nn.Module]:
    """Ours and MONAI's with the same weights: the layers have the same order in both."""
    torch.manual_seed(0)
    ours = Ours()
    peer = ResNet(
        "basic",
        BLOCKS,
        WIDTHS,
        spatial_dims=3,
        n_input_channels=1,
        num_classes=CLASSES,
        conv1_t_size=3,
        conv1_t_stride=2,
        no_max_pool=True,
        shortcut_type="B",
        bias_downsample=False,
    )
    own = {name.split(".")[-1] + str(value.shape): 0 for name, value in ours.state_dict().items()}
    assert {name.split(".")[-1] + str(value.shape) for name, value in peer.state_dict().items()} == set(own)
    state = ours.state_dict()
    peer.load_state_dict({name: state[_ours(name)] for name in peer.state_dict()})
    return {"ours": ours, "MONAI": peer}


def _ours(name: str) -> str:
    """Our name of a weight of MONAI's."""
    name = name.replace("downsample.0.", "shortcut.conv.").replace("downsample.1.", "shortcut.norm.")
    name = name.replace(".bn", ".norm")
    for number in range(len(BLOCKS)):
        name = name.replace(f"layer{number + 1}.", f"backbone.stages.{number}.")
    if name.startswith("fc."):
        return name.replace("fc.", "head.")
    if name.startswith(("conv1.", "bn1.")):
        return "backbone.stem." + name.replace("conv1.", "conv.").replace("bn1.", "norm.")
    return name


def step(network: nn.Module, images: Tensor, labels: Tensor, *, half: bool) -> None:
    """Forward, backward and an update."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = F.cross_entropy(network(images).float(), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@torch.inference_mode()
def infer(network: nn.Module, images: Tensor, *, half: bool) -> None:
    """Forward alone, several times."""
    network.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        for _ in range(PASSES):
            network(images)


def in_turns(networks: dict[str, nn.Module], run: Callable[[nn.Module], None], rounds: int) -> dict[str, float]:
    """Median seconds of each; the first round warms up, and who goes first changes with every round."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 1):
        for name in sorted(networks, reverse=number % 2 == 1):
            began = time.perf_counter()
            run(networks[name])
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    given = parser.parse_args()
    networks = make_networks()
    torch.manual_seed(1)
    images, labels = torch.randn(given.batch, 1, *(given.side,) * 3), torch.arange(given.batch) % CLASSES
    with torch.inference_mode():
        outputs = [network.eval()(images[:1]) for network in networks.values()]
    difference = float((outputs[0] - outputs[1]).abs().max())
    assert difference <= 1e-5, difference
    rows = []
    for half in (False, True):
        precision = "bf16" if half else "fp32"
        for work, run in (
            (
                f"training step, {given.batch} x {given.side} cubed",
                partial(step, images=images, labels=labels, half=half),
            ),
            (f"{PASSES} inferences of 1 x {given.side} cubed", partial(infer, images=images[:1], half=half)),
        ):
            seconds = in_turns(networks, run, given.rounds)
            ratio = seconds["ours"] / seconds["MONAI"]
            rows.append((work, precision, f"{seconds['ours']:.3f}", f"{seconds['MONAI']:.3f}", f"{ratio:.3f}"))
            print(rows[-1], flush=True)
    body = table(("work", "precision", "ours, s", "MONAI, s", "ours / MONAI"), rows)
    remarks = (
        f"18 layers, width 64, 3x3x3 stem with stride 2, same weights, largest difference of outputs {difference:.1e}",
        f"{torch.get_num_threads()} threads, contiguous layout, medians of {given.rounds} turns after a warm-up",
        *given.remark,
    )
    title = "3D ResNet-18: a training step and an inference"
    print(write_section("residual_speed", title, body, ("torch", "monai"), remarks=remarks))


if __name__ == "__main__":
    main()
