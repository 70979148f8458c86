"""What the scope gate catches, and what it refuses of scans in scope. Run: python tests/benchmarks/scope.py --out DIR

    python tests/benchmarks/scope.py --out DIR [--data DIR] [--cohorts hippocampus ...] [--remark TEXT]

Trains a package on each cohort by the verbs that users have, then judges its untouched test split, the same scans
spoiled in each known way before they are prepared, and scans of other kinds whose header claims the right modality and
grid. A scan is caught where it is refused with a code, or its verdict is out of scope. Writes the section "scope" of
RESULTS.md.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import table, write_section
from benchmarks.scope_cohorts import COHORTS, Cohort, ready
from conftest import SHARED_DATA

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.case import Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.prediction import ScopeVerdict
from pipeline.domain.volume import Volume
from pipeline.engines.engine import Engine
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import RejectedInput
from pipeline.evaluation.calibration import wilson
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.appearance import appearance
from pipeline.preprocessing.scan_facts import measure_facts
from pipeline.preprocessing.transforms import prepare
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.scope.gate import Gate
from pipeline.scope.judging import judge
from pipeline.scope.orientations import turned

MOST = 120
"""Scans of a kind that are judged."""

CROPS = 60
"""Pieces that are cut from one series."""

IN_SCOPE = "test split, as it is"
Spoil = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]


@dataclass
class Tally:
    """How many scans of a kind were judged and caught, and what the first reason was."""

    scans: int = 0
    caught: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def turn(order: tuple[int, ...], flipped: tuple[int, ...]) -> Spoil:
    """Exchange and reverse axes of the voxels; what the header says stays."""

    def spoil(voxels: NDArray[np.float32], _: np.random.Generator) -> NDArray[np.float32]:
        return turned(voxels, (*order, 2)[:3], flipped)

    return spoil


SPOILED: Mapping[str, Spoil] = {
    "inverted": lambda x, _: x.max() + x.min() - x,
    "noise, normal, same mean and deviation": lambda x, rng: rng.normal(x.mean(), x.std(), x.shape),
    "noise, uniform, same range": lambda x, rng: rng.uniform(x.min(), x.max(), x.shape),
    "noise, its own voxels shuffled": lambda x, rng: rng.permuted(x.ravel()).reshape(x.shape),
    "blank, all at its mean": lambda x, _: np.full_like(x, x.mean()),
    "blank, all at its minimum": lambda x, _: np.full_like(x, x.min()),
}
TURNS_2D: Mapping[str, Spoil] = {
    "flipped up-down": turn((0, 1), (1,)),
    "flipped left-right": turn((0, 1), (0,)),
    "turned by 180 degrees": turn((0, 1), (0, 1)),
    "rows and columns exchanged": turn((1, 0), ()),
    "turned by 90 degrees": turn((1, 0), (0,)),
}
TURNS_3D: Mapping[str, Spoil] = {
    "flipped left-right": turn((0, 1, 2), (0,)),
    "flipped front-back": turn((0, 1, 2), (1,)),
    "flipped up-down": turn((0, 1, 2), (2,)),
    "flipped left-right and front-back": turn((0, 1, 2), (0, 1)),
    "left-right and front-back exchanged": turn((1, 0, 2), ()),
    "left-right and up-down exchanged": turn((2, 1, 0), ()),
    "front-back and up-down exchanged": turn((0, 2, 1), ()),
}


def main() -> None:
    """Train, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder; what is there is kept")
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    parser.add_argument("--cohorts", nargs="+", default=[one.name for one in COHORTS])
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parts, notes = [ABOUT], []
    for cohort in COHORTS:
        if cohort.name in options.cohorts:
            manifest, package = ready(cohort, options.out, options.data)
            tallies = measured_once(cohort, manifest, package, options.data, options.out)
            parts.append(f"### {cohort.title}\n\n{as_table(tallies)}")
            notes += [f"{cohort.name}: {line}" for line in package.card.scope]
            logging.info("%s\n%s", cohort.name, as_table(tallies))
    packages = ("torch", "scikit-learn", "scipy", "numpy")
    print(write_section("scope", "Scope gate", "\n\n".join(parts), packages, remarks=(*options.remark, *notes)))


def measured_once(cohort: Cohort, manifest: Path, package: ModelPackage, data: Path, out: Path) -> Mapping[str, Tally]:
    """Judge every kind of scan, or take what was judged before by the same model."""
    kept = out / cohort.name / f"judged_{package.digest[:16]}.json"
    if not kept.is_file():
        kept.write_text(json.dumps({name: vars(one) for name, one in measure(cohort, manifest, package, data).items()}))
    found = json.loads(kept.read_text())
    return {name: Tally(one["scans"], one["caught"], Counter(one["reasons"])) for name, one in found.items()}


def measure(cohort: Cohort, manifest: Path, package: ModelPackage, data: Path) -> dict[str, Tally]:
    """Judge every kind of scan."""
    reader = CaseReader(load_files(manifest), ReadOptions())
    test = [reader.read(case) for case in load_manifest(manifest).of(Split.TEST)]
    assert package.scope is not None
    engine, gate = TorchConfig().build(package), Gate(package.scope)
    kinds: dict[str, Iterable[Volume]] = {IN_SCOPE: test}
    some = test[:MOST]
    other = "MR" if package.plan.modality != "MR" else "CT"
    kinds["other modality by its header"] = [replace(volume, modality=other) for volume in some]
    for name, spoil in (SPOILED | (TURNS_3D if package.plan.ndim == 3 else TURNS_2D)).items():
        kinds[name] = spoiled(some, spoil)
    kinds |= strangers(cohort.name, some, package.plan.modality, data)
    return {name: judged(volumes, package, engine, gate) for name, volumes in kinds.items()}


def spoiled(volumes: Iterable[Volume], spoil: Spoil) -> Iterator[Volume]:
    """Yield scans with other voxels below the same header."""
    rng = np.random.default_rng(0)
    for volume in volumes:
        voxels = np.ascontiguousarray(spoil(volume.voxels, rng), dtype=np.float32)
        i, j, k = voxels.shape[1:]
        yield replace(
            volume,
            voxels=voxels,
            geometry=Geometry.from_matrix((i, j, k), volume.geometry.matrix, volume.geometry.unit),
        )


def judged(volumes: Iterable[Volume], package: ModelPackage, engine: Engine, gate: Gate) -> Tally:
    """Judge scans as a prediction does."""
    tally = Tally()
    for volume in volumes:
        tally.scans += 1
        try:
            image = prepare(volume, package.plan)
        except RejectedInput as error:
            tally.caught += 1
            tally.reasons[f"refused, {error.code}"] += 1
            continue
        answer = engine.answer(image[np.newaxis])
        verdict, reasons = judge(gate, measure_facts(volume), appearance(image), answer.features[0])
        if verdict is ScopeVerdict.OUT_OF_SCOPE:
            tally.caught += 1
            tally.reasons[words_of(reasons[0])] += 1
    return tally


def words_of(reason: str) -> str:
    """The part of a reason that does not change from scan to scan."""
    return reason.partition(":")[0].split(" with ")[0].split(", training")[0].rstrip("0123456789. ")


def strangers(name: str, test: list[Volume], modality: str, data: Path) -> dict[str, Iterable[Volume]]:
    """Scans of other kinds, with the modality and, as far as they can have it, the grid of the test split."""
    mednist, medmnist = data / "mednist", data / "medmnist"
    if name == "hippocampus":
        series = data / "dicom_series"
        return {
            "CT of the head, claims to be MR": crops(series / "ct_philips_axial_j2k" / "In", test, modality),
            "MR of other places in the head": crops(series / "mr_ge_t1_mprage_3d_j2k" / "In", test, modality),
        }
    if name == "ct":
        folders = {
            "head CT": "HeadCT",
            "chest X-ray, claims to be CT": "CXR",
            "X-ray of a hand, claims to be CT": "Hand",
            "breast MR, claims to be CT": "BreastMRI",
        }
        found: dict[str, Iterable[Volume]] = {
            title: pictures(mednist / folder, test[0], modality) for title, folder in folders.items()
        }
        breast = np.load(medmnist / "breastmnist.npz")["test_images"]
        found["breast ultrasound, claims to be CT"] = arrays(breast, test[0], modality)
        return found
    folders = {
        "head CT": "HeadCT",
        "abdominal CT": "AbdomenCT",
        "chest CT": "ChestCT",
        "chest X-ray": "CXR",
        "X-ray of a hand": "Hand",
        "breast MR": "BreastMRI",
    }
    found = {
        f"{title}, claims the right modality": pictures(mednist / folder, test[0], modality)
        for title, folder in folders.items()
    }
    rest = "breastmnist" if name == "retina" else "retinamnist"
    title = "breast ultrasound" if name == "retina" else "fundus photographs in grey"
    return found | {
        f"{title}, claims the right modality": arrays(
            np.load(medmnist / f"{rest}.npz")["test_images"], test[0], modality
        )
    }


def pictures(folder: Path, like: Volume, modality: str) -> Iterator[Volume]:
    """Yield grey pictures of a folder, on the grid of a test scan."""
    for path in islice(sorted(folder.glob("*.jpeg")), MOST):
        with Image.open(path) as image:
            yield picture(np.asarray(image.convert("L")), like, modality)


def arrays(images: NDArray[np.uint8], like: Volume, modality: str) -> Iterator[Volume]:
    """Yield images of MedMNIST (n, rows, columns[, 3]) in grey, on the grid of a test scan."""
    for image in images[:MOST]:
        yield picture(np.asarray(Image.fromarray(image).convert("L")), like, modality)


def picture(pixels: NDArray[np.uint8], like: Volume, modality: str) -> Volume:
    """One picture (rows, columns), resized; grey ones fill each channel of a colour test scan."""
    columns, rows, _ = like.geometry.shape
    resized = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC), dtype=np.float32)
    voxels = np.repeat(resized.T[np.newaxis, :, :, np.newaxis], like.channels, axis=0)
    return Volume(np.ascontiguousarray(voxels), like.geometry, modality)


def crops(folder: Path, test: list[Volume], modality: str) -> Iterator[Volume]:
    """Yield pieces of one series at random places inside the patient, each with the grid of a test scan."""
    (series,) = discover(folder, ReadOptions()).series
    whole = read(series, ReadOptions()).canonical()
    steps = whole.geometry.spacing
    fine = ndimage.zoom(whole.voxels[0], steps, order=1)
    inside = ndimage.binary_erosion(fine > np.percentile(fine, 60), iterations=3)
    rng = np.random.default_rng(0)
    places = np.argwhere(inside)
    for volume in islice((volume for _ in range(CROPS) for volume in test), CROPS):
        shape = volume.canonical().geometry.shape
        room = np.array(fine.shape) - shape
        assert (room > 0).all(), (fine.shape, shape)
        corner = np.clip(places[rng.integers(len(places))] - np.array(shape) // 2, 0, room)
        cut = fine[tuple(slice(start, start + size) for start, size in zip(corner, shape, strict=True))]
        geometry = Geometry.from_matrix(shape, np.eye(4))
        yield Volume(np.ascontiguousarray(cut[np.newaxis], dtype=np.float32), geometry, modality)


def as_table(tallies: Mapping[str, Tally]) -> str:
    """One row a kind of scan."""
    rows = []
    for name, tally in tallies.items():
        share = tally.caught / tally.scans
        low, high = wilson(share, tally.scans)
        why = ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common(2))
        rows.append([name, f"{tally.caught} of {tally.scans}", f"{share:.1%}", f"{low:.1%} to {high:.1%}", why])
    return table(["scans", "refused", "share", "95% interval (Wilson)", "most often because"], rows)


ABOUT = (
    "`python tests/benchmarks/scope.py --out DIR`: packages trained by the shipped configurations with fewer epochs. "
    "The first row of each table is the untouched test split, which should be refused in less than 5%; of each other "
    "row at least 95% should be. Scans are spoiled before they are prepared, and their header stays as it was. At most "
    "120 scans a row. Crops of one series are of one patient, so that their interval is too narrow."
)


if __name__ == "__main__":
    main()
