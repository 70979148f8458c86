"""What each network of a study costs to deploy and to train: size, multiply-adds, latency and memory."""

import logging
import statistics
import time
from collections.abc import Mapping, Sequence

import psutil
import torch
from torch import nn

from pipeline.backbones.complexity import count_multiply_adds, count_parameters
from pipeline.backbones.settings import BackboneSettings
from pipeline.domain.finding import Finding
from pipeline.domain.frozen import Frozen
from pipeline.networks.classifier import Classifier
from pipeline.training.study.memory import Step, peak_of_step
from pipeline.training.study.record import Shape
from pipeline.workers import imap

log = logging.getLogger("resdx")

ROUNDS = 7
"""Rounds of the latency, in each of which every network has its turn; their median is told."""

MEMORY_SECONDS = 600.0
"""Longest that the one step may take whose memory is measured."""

FLOAT_BYTES = 4


class Cost(Frozen):
    """Cost of one network.

    Attributes
    ----------
    multiply_adds : int
        Of one case.
    milliseconds : float
        Of one case in inference, median of :data:`ROUNDS` alternated rounds.
    peak_bytes : int or None
        Most memory that one training step took beyond what the process held before it built the network; None where
        it could not be measured.
    """

    shape: Shape
    parameters: int
    multiply_adds: int
    milliseconds: float
    peak_bytes: int | None

    @property
    def weight_bytes(self) -> int:
        """Size of the weights in float32."""
        return self.parameters * FLOAT_BYTES


class Costs(Frozen):
    """Costs of all networks of a study, and where they were measured.

    Attributes
    ----------
    batch_size : int
        Of the training step whose memory was measured.
    """

    networks: tuple[Cost, ...]
    device: str
    threads: int
    batch_size: int

    def of(self, shape: Shape) -> Cost:
        """Cost of one network."""
        return next(cost for cost in self.networks if cost.shape == shape)


def measure_costs(
    backbones: Mapping[Shape, BackboneSettings], findings: Sequence[Finding], case: Sequence[int], batch_size: int
) -> Costs:
    """Measure every network on this machine.

    Parameters
    ----------
    backbones : mapping of Shape to BackboneSettings
        Resolved.
    case : sequence of int
        Shape of one case, (c, *space).
    batch_size : int
        Of a training step.
    """
    channels, ndim = case[0], len(case) - 1
    networks = {shape: Classifier(settings.build(ndim, channels), findings) for shape, settings in backbones.items()}
    latency = alternated_latency(networks, case)
    costs = tuple(
        Cost(
            shape=shape,
            parameters=count_parameters(network),
            multiply_adds=_multiply_adds(network, case),
            milliseconds=latency[shape],
            peak_bytes=_peak(Step(backbones[shape], tuple(findings), (batch_size, *case), torch.get_num_threads())),
        )
        for shape, network in networks.items()
    )
    device = "GPU" if torch.cuda.is_available() else "processor"
    return Costs(networks=costs, device=device, threads=torch.get_num_threads(), batch_size=batch_size)


@torch.inference_mode()
def alternated_latency(networks: Mapping[Shape, nn.Module], case: Sequence[int]) -> dict[Shape, float]:
    """Milliseconds of one case, median over rounds in which the networks take turns; one round before warms up."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = torch.randn((1, *case), device=device)
    seconds: dict[Shape, list[float]] = {shape: [] for shape in networks}
    for network in networks.values():
        network.to(device).eval()
    for _ in range(ROUNDS + 1):
        for shape, network in networks.items():
            began = time.perf_counter()
            float(network(image).sum())  # waits for a GPU
            seconds[shape].append(time.perf_counter() - began)
    return {shape: 1000 * statistics.median(found[1:]) for shape, found in seconds.items()}


def _multiply_adds(network: Classifier, case: Sequence[int]) -> int:
    """Count backbone and heads apart: between them stands what needs a real device."""
    heads = sum(count_multiply_adds(head, (network.backbone.features,)) for head in network.heads)
    return count_multiply_adds(network.backbone, case) + heads


def _peak(step: Step) -> int | None:
    """Measure in a process of its own, so that memory which others left free is not taken for the network's."""
    everything = int(psutil.virtual_memory().total)
    outcomes = imap(peak_of_step, [step], processes=1, timeout_seconds=MEMORY_SECONDS, memory_bytes=everything)
    outcome = next(iter(outcomes))
    if outcome.error is not None:
        log.warning("The memory of a training step could not be measured: %s", outcome.error)
    return outcome.value
