"""A folder of scans to predictions, end to end: ours against a plain MONAI script with the same network.

``python tests/benchmarks/predicting.py`` from the root of a clone, on a machine that does nothing else. Both are
programs of their own, started in turns on the same folder of NIfTI files; each is timed from its start to its table on
disk. The peer is what anyone writes: LoadImage and transforms in a DataLoader with as many workers as there are
processors, the network in eager float32. ``--quick`` runs every row on a few small scans and writes nothing.

Writes section "predicting" of RESULTS.md.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nibabel
import numpy as np
import psutil
import torch
from benchmarks.results import table, write_section
from phantoms.packages import FINDINGS, make_card, make_fingerprint, make_plan

from pipeline.machine import bfloat16_units
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage, save_package

SIDE = 64
NETWORK = {"backbone": {"kind": "resnet", "depth": 18, "stem": "medium"}}

OURS = {
    "torch bf16": ("engine.kind=torch", "engine.precision=bf16"),
    "torch bf16, tables only": ("engine.kind=torch", "engine.precision=bf16", "page=false", "pictures=false"),
    "openvino bf16": ("engine.kind=openvino", "engine.precision=bf16"),
    "torch float32": ("engine.kind=torch",),
}
if not bfloat16_units():  # emulated, a scan takes sixty times as long
    OURS = {
        "torch float32": ("engine.kind=torch",),
        "openvino float32": ("engine.kind=openvino",),
        "openvino float32, tables only": ("engine.kind=openvino", "page=false", "pictures=false"),
    }
HELD = next(iter(OURS))
"""Whose memory is measured."""

PEER_NAME = "MONAI, eager float32"

PEER = Path(__file__).with_name("predicting_monai.py")


def make_model(folder: Path, side: int) -> ModelPackage:
    """A 3D ResNet-18 with random weights; only its time matters."""
    plan = make_plan(3).model_copy(update={"size": (side,) * 3, "spacing": (1.0,) * 3})
    network = NetworkSettings.from_mapping(NETWORK)
    torch.manual_seed(0)
    return save_package(
        folder,
        classifier_state=build_classifier(network, FINDINGS, 3, 1).state_dict(),
        network=network,
        plan=plan,
        fingerprint=make_fingerprint(3),
        findings=FINDINGS,
        calibration=(),
        operating_points=(),
        manifest_digest="a" * 64,
        card=make_card(),
    )


def make_scans(folder: Path, count: int, side: int) -> None:
    """CT-like scans: noise on a few large shapes, int16, gzipped as exports are."""
    folder.mkdir(parents=True)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij"))
    for number in range(count):
        rng = np.random.default_rng(number)
        voxels = rng.normal(40, 15, (side,) * 3) - 1000 * ((grid**2).sum(axis=0) > rng.uniform(0.6, 0.9))
        image = nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4))
        nibabel.save(image, folder / f"scan{number:04}.nii.gz")


def ours(model: Path, scans: Path, out: Path, *settings: str) -> list[str]:
    """Command of a prediction."""
    code = "from pipeline.cli import main; main()"
    arguments = ["predict", str(model), str(scans), "--out", str(out), "--modality", "CT"]
    given = [f"key_file={out.parent / 'key'}", "index=false", *settings]
    return [sys.executable, "-c", code, "--quiet", *arguments, *given]


def peer(model: Path, scans: Path, out: Path) -> list[str]:
    """Command of the MONAI script."""
    return [sys.executable, str(PEER), str(model), str(scans), str(out)]


def timed(command: list[str]) -> tuple[float, int]:
    """Seconds, and the most memory that the program and its children held together at one time, in bytes."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        most = 0
        while process.poll() is None:
            most = max(most, _held(process.pid))
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {' '.join(command)}")
    return seconds, most


def _held(pid: int) -> int:
    """Proportional set size of a process and its descendants: pages that are shared count once."""
    total = 0
    try:
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:
        pass
    return total


def same_answers(table_of_ours: Path, table_of_peer: Path) -> float:
    """Largest difference of a probability between the two tables: they must have done the same work."""

    def columns(path: Path) -> list[list[float]]:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if "_p_" in name]
        return sorted([float(row[name]) for name in names] for row in rows)

    return float(np.abs(np.array(columns(table_of_ours)) - np.array(columns(table_of_peer))).max())


def compare(root: Path, count: int, side: int, turns: int) -> str:
    """Time everybody in turns, and make the table."""
    model = make_model(root / "model", side).folder
    make_scans(root / "scans", count, side)
    taken: dict[str, list[float]] = {PEER_NAME: []}
    differences: dict[str, float] = {}
    for turn in range(turns):
        seconds, _ = timed(peer(model, root / "scans", root / "peer.csv"))
        taken[PEER_NAME].append(seconds / count)
        for name, changes in OURS.items():
            out = root / f"{turn} {name}" / "out"
            seconds, _ = timed(ours(model, root / "scans", out, *changes))
            taken.setdefault(name, []).append(seconds / count)
            differences[name] = same_answers(out / "predictions.csv", root / "peer.csv")
    medians = {name: statistics.median(values) for name, values in taken.items()}
    rows = [
        [
            name,
            f"{median:.3f}",
            f"{median / medians[PEER_NAME]:.2f}" if name in differences else "",
            f"{differences[name]:.1e}" if name in differences else "",
        ]
        for name, median in medians.items()
    ]
    return table(["who", "s a scan", "ours / theirs", "largest difference of a probability"], rows)


def memory(root: Path, counts: tuple[int, int], side: int) -> str:
    """Most memory that ours takes for few and for many scans."""
    model = make_model(root / "model of memory", side).folder
    rows = []
    for count in counts:
        make_scans(root / f"{count} scans", count, side)
        out = root / f"memory of {count}" / "out"
        seconds, most = timed(ours(model, root / f"{count} scans", out, *OURS[HELD]))
        rows.append([str(count), f"{seconds:.0f}", f"{most / 2**20:.0f}"])
    return table(["scans", "s", "most MiB at one time"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    count, side, turns = (6, 16, 1) if given.quick else (given.scans, SIDE, given.turns)
    with tempfile.TemporaryDirectory(prefix="resdx-predicting-") as scratch:
        compared = compare(Path(scratch), count, side, turns)
        print(compared)
        held = memory(Path(scratch), (3, 6) if given.quick else (100, 1000), side)
        print(held)
    text = (
        f"{count} NIfTI files (.nii.gz, {side} cubed, int16) to a table of predictions, by a 3D ResNet-18 of "
        f"{SIDE} channels with random weights; whole programs with their start, medians of {turns} turns. Ours also "
        "verifies the digest of each file, keeps a ledger, draws nine slices of each case and makes the page of "
        "results, unless said otherwise; the peer reads, transforms, runs and writes a CSV. The peer's network is "
        "ours, in eager float32.\n\n"
        f"{compared}\n\nMemory of ours with all its processes (proportional set size), {HELD}:\n\n{held}"
    )
    if not given.quick:
        packages = ["torch", "monai", "nibabel", "openvino", "numpy"]
        print(write_section("predicting", "A folder of scans to predictions", text, packages))


if __name__ == "__main__":
    main()
