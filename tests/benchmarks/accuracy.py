"""Accuracy on public splits: three seeds of each shipped configuration. Run: python tests/benchmarks/accuracy.py.

    python tests/benchmarks/accuracy.py --out DIR [--configs retina2d ...] [--seeds 0 ...] [--files DIR] [--report-only]

Every step is the command that users have: import, ingest, train, evaluate. Best epoch, temperature and thresholds come
from the validation split; the test split is opened once for each seed, after its model is frozen, and every opening
is counted by `resdx evaluate` and printed. Killed, the same command goes on. Writes the section "accuracy" of
RESULTS.md: a configuration that was trained in DIR has the rows of DIR alone, the others keep their rows and what was
said of them. Begin with a new DIR where an import has learned to measure.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import section, table, write_section
from conftest import SHARED_DATA

from pipeline import atomic
from pipeline.cohort.openings import openings_path
from pipeline.domain.score import Report
from pipeline.stages import evaluate, import_medmnist, ingest, train

SEEDS = (0, 1, 2)
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
MINUTES = "minutes.json"


@dataclass(frozen=True)
class Benchmark:
    """One data set, its configuration, and what is published of it (Yang et al., Scientific Data 10:41, 2023)."""

    name: str
    config: str
    auroc: str
    target: float
    resnet: str
    best: str
    first: str = ""
    """Configuration of the network whose weights it begins with; random ones where there is none."""


BENCHMARKS = (
    Benchmark("adrenalmnist3d", "adrenal3d", "auroc", 0.905, "0.827", "0.839 (ResNet-18 + ACS)"),
    Benchmark("adrenalmnist3d", "adrenal3d_measured", "auroc", 0.905, "0.827", "0.839 (ResNet-18 + ACS)"),
    Benchmark("breastmnist", "breast2d", "auroc", 0.930, "0.901", "0.919 (AutoML)"),
    Benchmark("breastmnist", "breast2d_finetuned", "auroc", 0.930, "0.901", "0.919 (AutoML)", first="mednist2d"),
    Benchmark("retinamnist", "retina2d", "macro_auroc", 0.760, "0.717", "0.750 (AutoML)"),
)


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder; what is there is kept")
    parser.add_argument("--files", type=Path, default=SHARED_DATA / "medmnist", help="folder of the .npz files")
    parser.add_argument("--mednist", type=Path, default=SHARED_DATA / "mednist", help="folder with its manifest.csv")
    parser.add_argument("--configs", nargs="+", default=[one.config for one in BENCHMARKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="of each set; the table has what is there")
    parser.add_argument("--report-only", action="store_true", help="write the table of what has been evaluated")
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("RESDX_KEY_FILE", str(options.out.resolve() / "key"))
    for one in BENCHMARKS:
        if one.config in options.configs and not options.report_only:
            first = first_weights(one.first, options.mednist, options.out / "mednist") if one.first else None
            run(one, options.files, options.out / one.name, options.seeds, first)
    print(report(options.out, options.remark))


def first_weights(config: str, pictures: Path, folder: Path) -> Path:
    """Train the network whose weights others begin with, once for all seeds; it never sees a benchmark."""
    manifest, out = folder / "cohort.csv", folder / "run"
    if not manifest.is_file():
        given = [f"scans={pictures}", f"out={manifest}", f"labels.file={pictures / 'manifest.csv'}"]
        ingest.run(ingest.Config.load(CONFIGS.parent / "ingest" / "mednist.yaml", given))
    given = [f"manifest={manifest}", f"out={out}", "tracking.enabled=false", "tracking.system_seconds=0"]
    if not (out / "package").is_dir():
        started = time.monotonic()
        train.run(train.Config.load(CONFIGS / f"{config}.yaml", given))
        add_minutes(folder / MINUTES, 0, (time.monotonic() - started) / 60)
    return out / "package"


def run(one: Benchmark, files: Path, folder: Path, seeds: Sequence[int], first: Path | None) -> None:
    """Import, ingest, and of each seed train and evaluate; what was done before is kept."""
    scans, manifest = folder / "import", folder / "cohort.csv"
    if not scans.exists():
        import_medmnist.run(import_medmnist.Config(file=files / f"{one.name}.npz", out=scans))
    if not manifest.is_file():
        labels = [f"scans={scans / 'scans'}", f"out={manifest}", f"labels.file={scans / 'labels.csv'}"]
        ingest.run(ingest.Config.load(scans / "ingest.yaml", labels))
    for seed in seeds:
        run_seed(one, manifest, folder, seed, first)


def run_seed(one: Benchmark, manifest: Path, folder: Path, seed: int, first: Path | None) -> None:
    """Train a seed, then open the test split for it, once."""
    out, scored = folder / one.config / f"seed{seed}", folder / one.config / f"test{seed}"
    if (scored / "report.json").is_file():
        return
    given = [f"manifest={manifest}", f"out={out}", f"seed={seed}", f"cache={folder / 'cache'}"]
    given += [f"pretrained.file={first}"] if first else []
    tracking = ["tracking.enabled=false", "tracking.system_seconds=0"]
    started = time.monotonic()
    logging.info("%s, seed %d", one.config, seed)
    for line in train.run(train.Config.load(CONFIGS / f"{one.config}.yaml", [*given, *tracking])).lines:
        logging.info("  %s", line)
    add_minutes(folder / one.config / MINUTES, seed, (time.monotonic() - started) / 60)
    ours = [f"model={out}", f"manifest={manifest}", f"out={scored}", f"cache={folder / 'cache'}", "track=false"]
    for line in evaluate.run(evaluate.Config.load(None, ours)).lines:
        logging.info("  %s", line)


def add_minutes(path: Path, seed: int, minutes: float) -> None:
    """Add to the time that a seed took, also where it was killed and went on."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[str(seed)] = known.get(str(seed), 0.0) + minutes
    atomic.write_text(path, json.dumps(known, indent=2) + "\n")


def report(out: Path, remarks: Sequence[str] = ()) -> str:
    """Write the table of all sets that have been evaluated."""
    heads = ["data, configuration", "seed", "test AUROC (95% interval)", "accuracy", "quadratic kappa", "minutes"]
    rows: list[list[str]] = []
    models: Counter[str] = Counter()
    earlier: list[str] = []
    for one in BENCHMARKS:
        folder = out / one.name / one.config
        reports = {seed: folder / f"test{seed}" / "report.json" for seed in SEEDS}
        found = {
            seed: Report.model_validate_json(path.read_bytes()) for seed, path in reports.items() if path.is_file()
        }
        if found:
            rows += rows_of(one, found, json.loads((folder / MINUTES).read_text(encoding="utf-8")))
            models[one.name] += len(found)
        elif kept := rows_before(one):
            rows += kept
            earlier.append(one.config)
    where = "in this run its" if earlier else "its"
    notes = [
        f"{name}: {where} test split was opened {looks_at(out / name / 'cohort.csv')} times, for {count} models"
        for name, count in models.items()
    ]
    if earlier:
        notes += [
            f"{', '.join(earlier)}: kept from earlier runs of the command, of which it was said:",
            *notes_before(),
        ]
    if (out / "mednist" / MINUTES).is_file():
        minutes = json.loads((out / "mednist" / MINUTES).read_text(encoding="utf-8"))["0"]
        notes.append(f"the first weights of breast2d_finetuned took {minutes:.1f} minutes, once for all seeds")
    published = table(
        ["data", "configuration", "ours, mean of seeds", "ours must be", "ResNet-18 there", "best there"],
        [[one.name, one.config, mean_of(rows, one), f"{one.target:.3f}", one.resnet, one.best] for one in BENCHMARKS],
    )
    return write_section(
        "accuracy",
        "Accuracy on public splits",
        ABOUT + "\n\n" + published + "\n\n" + table(heads, rows),
        PACKAGES,
        remarks=(*notes, *remarks),
    )


def rows_before(one: Benchmark) -> list[list[str]]:
    """Rows of a configuration as RESULTS.md has them; it holds what took an hour to measure."""
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in section("accuracy").splitlines()]
    return [row for row in cells if row[0] in (f"{one.name}, {one.config}", f"**{one.config}**")]


def notes_before() -> list[str]:
    """All that RESULTS.md says of the rows it has: openings of test splits above all, but machines and versions too."""
    return [line.removeprefix("- ") for line in section("accuracy").splitlines() if line.startswith("- ")]


def looks_at(manifest: Path) -> int:
    """How often the test split of a manifest was opened."""
    return len(openings_path(manifest).read_text(encoding="utf-8").splitlines())


ABOUT = (
    "`python tests/benchmarks/accuracy.py --out DIR`: configurations of configs/train with seeds 0, 1 and 2, on the "
    "official splits of MedMNIST v2; where a configuration has folds (both of breast2d, retina2d), training and "
    "validation are dealt to them together, and what is held out of a fold validates it. Temperature and "
    "thresholds by validation alone, and the best epoch where a configuration does not keep the last "
    "(breast2d_finetuned, retina2d). breast2d_finetuned begins with a network that was trained on MedNIST and its "
    "quarter turns (configs/ingest/mednist, configs/train/mednist2d), the others with random weights; "
    "adrenal3d_measured also learns the shape of its training masks. Test AUROC; of RetinaMNIST the mean over its "
    "five grades of one against the rest, as MedMNIST's evaluator has it. Published figures are those of Yang et al. "
    "2023 as cited in secondary sources."
)
PACKAGES = ("torch", "monai", "pytorch-lightning", "numpy")


def rows_of(one: Benchmark, found: dict[int, Report], minutes: dict[str, float]) -> list[list[str]]:
    """One row a seed, then their mean with the standard deviation between seeds."""
    rows = []
    columns: dict[str, list[float]] = {one.auroc: [], "accuracy": [], "quadratic_kappa": []}
    for seed, result in found.items():
        scores = {score.metric: score for score in result.findings[0].scores}
        cells = []
        for name, values in columns.items():
            score = scores.get(name)
            if score is None or score.value is None:
                cells.append("")
                continue
            values.append(score.value)
            bounds = f" ({score.low:.3f} to {score.high:.3f})" if name == one.auroc and score.low is not None else ""
            cells.append(f"{score.value:.4f}{bounds}")
        rows.append([f"{one.name}, {one.config}", str(seed), *cells, f"{minutes[str(seed)]:.1f}"])
    means = [spread(values) for values in columns.values()]
    rows.append([f"**{one.config}**", "mean ± sd", *means, f"{sum(minutes.values()):.1f} in all"])
    return rows


def spread(values: list[float]) -> str:
    """Mean and standard deviation between seeds."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"**{statistics.mean(values):.4f}**{deviation}"


def mean_of(rows: list[list[str]], one: Benchmark) -> str:
    """The mean that stands in the long table."""
    return next((row[2] for row in rows if row[0] == f"**{one.config}**"), "not run")


if __name__ == "__main__":
    main()
