"""One volume through our 3D ResNet-18, by every engine and precision, against MONAI's in eager float32, in turns.

    python tests/benchmarks/inference.py [--rounds 9] [--sides 64 96] [--model RUN --manifest COHORT.csv]

Both networks have the same geometry (18 layers, width 64, 3x3x3 stem with stride 2, no pooling, projections of option
B) and hold the same random weights, which cost what trained ones cost; that logits agree is checked first. Every engine
has as many threads as PyTorch (``OMP_NUM_THREADS`` says how many). Ours answers with logits and features through
:class:`pipeline.engines.engine.Engine`, the copy of the image included; MONAI's has its tensor ready.

With ``--model`` and ``--manifest`` also the parity table of a trained model, as ``resdx export`` measures it on every
validation case. The one that is written here is AdrenalMNIST3D's:

    resdx import medmnist adrenalmnist3d.npz ADRENAL
    resdx ingest ADRENAL/scans --labels ADRENAL/labels.csv --out COHORT.csv --config ADRENAL/ingest.yaml
    resdx train adrenal3d --manifest COHORT.csv --out RUN

Writes the section "inference" of RESULTS.md; ``--quick`` runs everything on tiny volumes and writes nothing.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from benchmarks.residual_speed import Ours, make_networks
from benchmarks.results import table, write_section
from numpy.typing import NDArray
from phantoms.packages import make_card, make_fingerprint, make_plan
from torch import nn

from pipeline.domain.finding import Finding, FindingKind
from pipeline.engines.exports import read_report
from pipeline.engines.openvino import conversion
from pipeline.engines.openvino.compiled import runner
from pipeline.engines.openvino.quantization import quantize
from pipeline.engines.settings import engine_settings
from pipeline.machine import bfloat16_units
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage, save_package
from pipeline.stages import export
from pipeline.stages.export_text import HEADS, cells

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
ENGINES = (("torch", "32"), ("torch", "bf16"), ("openvino", "32"), ("openvino", "bf16"), ("onnx", "32"))
if not bfloat16_units():  # emulated by PyTorch, a volume takes sixty times as long; OpenVINO would compute in float32
    ENGINES = tuple(one for one in ENGINES if "bf16" not in one)
PEER = "MONAI 32, eager"
PACKAGES = ("torch", "monai", "openvino", "onnxruntime", "nncf")

CALIBRATION = 4
"""Volumes of noise: enough for a network of which only the time counts."""

Image = NDArray[np.float32]
Run = Callable[[Image], Image]


def make_twin(ours: Ours, folder: Path, side: int) -> ModelPackage:
    """A package with the weights of `ours`; of its two logits the first."""
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 18, "stem": "medium"}})
    classifier = build_classifier(settings, [LESION], 3, 1)
    classifier.backbone.load_state_dict(ours.backbone.state_dict())
    head = {name: value[:1] for name, value in ours.head.state_dict().items()}
    classifier.heads[0].load_state_dict(head)
    return save_package(
        folder,
        classifier_state=classifier.state_dict(),
        network=settings,
        plan=make_plan(3).model_copy(update={"size": (side,) * 3}),
        fingerprint=make_fingerprint(3),
        findings=(LESION,),
        calibration=(),
        operating_points=(),
        manifest_digest="a" * 64,
        card=make_card((LESION,)),
    )


def make_runs(package: ModelPackage, peer: nn.Module, threads: int, image: Image) -> dict[str, Run]:
    """Everything that is timed: image (1, 1, *space) to logits."""
    ready = torch.tensor(image)

    def eager(_: Image) -> Image:
        with torch.inference_mode():
            return np.asarray(peer(ready).numpy()[:, :1])

    runs: dict[str, Run] = {PEER: eager}
    for kind, precision in ENGINES:
        fields: dict[str, object] = {"kind": kind, "threads": threads}
        fields |= {} if kind == "onnx" else {"precision": precision}
        fields |= {"device": "cpu"} if kind == "torch" else {}
        engine = engine_settings(fields).build(package)
        runs[f"{kind} {precision}"] = lambda batch, engine=engine: engine.answer(batch).logits  # type: ignore[misc]
    noise = np.random.default_rng(1).normal(size=(CALIBRATION, *image.shape[1:])).astype(np.float32)
    model = conversion.convert(package.build_classifier(), package)
    int8 = runner(quantize(model, list(noise)), "int8", threads)
    runs["openvino int8"] = lambda batch: int8(batch)[:, :1]
    return runs


def in_turns(runs: dict[str, Run], image: Image, rounds: int) -> dict[str, list[float]]:
    """Seconds of each; the first round warms up, and another begins every round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            runs[name](image)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def time_side(side: int, rounds: int, threads: int) -> list[tuple[str, ...]]:
    """Rows of one size of volume."""
    networks = {name: network.eval() for name, network in make_networks().items()}
    ours = networks["ours"]
    assert isinstance(ours, Ours)
    image = np.random.default_rng(0).normal(size=(1, 1, side, side, side)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        package = make_twin(ours, Path(folder) / "package", side)
        runs = make_runs(package, networks["MONAI"], threads, image)
        true = runs[PEER](image)
        apart = {name: float(np.abs(run(image) - true).max()) for name, run in runs.items()}
        assert all(difference <= 1e-4 for name, difference in apart.items() if name.endswith("32")), apart
        seconds = in_turns(runs, image, rounds)
    peer = statistics.median(seconds[PEER])
    rows = []
    for name, found in seconds.items():
        median = statistics.median(found)
        rows.append((name, str(side), f"{median:.4f}", f"{median / peer:.3f}", f"{apart[name]:.1e}"))
        print(*rows[-1], flush=True)
    return rows


def parity(model: Path, manifest: Path, threads: int) -> tuple[str, list[str]]:
    """The table of a trained model, and what a reader must know of it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "export"
        given = {"model": str(model), "manifest": str(manifest), "out": str(out), "threads": threads}
        export.run(export.Config.from_mapping(given))
        report = read_report(out)
    title = f"Parity of a trained model on its {report.cases} validation cases, by `resdx export`:"
    return f"{title}\n\n{table(HEADS, list(cells(report)))}", [f"parity: model {report.model[:12]}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--model", type=Path, help="a trained run or package, for the parity table")
    parser.add_argument("--manifest", type=Path, help="the manifest that it was trained on")
    parser.add_argument("--quick", action="store_true", help="tiny volumes; writes nothing")
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    given = parser.parse_args()
    if (given.model is None) != (given.manifest is None):
        parser.error("--model and --manifest go together")
    sides, rounds = ([16], 2) if given.quick else (given.sides, given.rounds)
    threads = torch.get_num_threads()
    rows = [row for side in sides for row in time_side(side, rounds, threads)]
    body = table(("engine", "side, voxels", "s", "of MONAI", "largest difference of the logit"), rows)
    remarks = [
        f"{threads} threads each, medians of {rounds} turns after a warm-up, random weights, no flips, one image a run",
        *given.remark,
    ]
    if given.model is not None:
        found, more = parity(given.model, given.manifest, threads)
        body, remarks = f"{body}\n\n{found}", [*remarks, *more]
    if given.quick:
        print(body, *remarks, sep="\n")
        return
    title = "3D ResNet-18: inference of one volume"
    print(write_section("inference", title, body, PACKAGES, remarks=remarks))


if __name__ == "__main__":
    main()
