"""Training samples a second, 64 x 64 x 64: our loader and others, in turns.

    python tests/benchmarks/loading.py

Without augmentation, and with flips (p 0.5 on each axis) and an affine (p 1): the same ranges and linear interpolation
for all. Every contestant delivers float32 batches of 8. ``--quick`` runs every row once and writes nothing; else the
section "loading" of RESULTS.md is written.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
import SimpleITK as sitk  # noqa: N813 # the name that its own pages use
import torch
from benchmarks.results import table, write_section
from monai.data import CacheDataset, DataLoader, PersistentDataset, set_track_meta
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandAffined, RandFlipd
from numpy.typing import NDArray
from phantoms.spheres import FINDINGS, make_case, make_plan
from torch.nn import functional as F

from pipeline.data.dataset import PreparedDataset
from pipeline.data.loader import CaseLoader
from pipeline.data.sampling import EpochOrder, EpochSampler, EvenBatches
from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume
from pipeline.preprocessing.cache import PreparedCache

SIDE, CASES, BATCH, TURNS = 64, 256, 8, 5
DEGREES, SCALE, SHIFT = 15.0, 0.1, 4
AUGMENTATION = AugmentationSettings(
    flip_axes=(0, 1, 2),
    shift=SHIFT,
    rotation=DEGREES,
    scale=SCALE,
    intensity_scale=0.0,
    intensity_shift=0.0,
)
LEAST_SECONDS = 0.5
"""A walk through 256 cases takes 10 ms: a training makes many, and none is the first after another's."""

WORKERS = (0, 2, 4)
"""Of the table of memory."""

Walk = Callable[[], Iterator[Any]]


def read(case: Case) -> Volume:
    """Noise that names its case."""
    rng = np.random.default_rng(int(case.digest, 16))
    voxels = rng.normal(0, 40, (1, SIDE, SIDE, SIDE)).astype(np.float32)
    return Volume(voxels=voxels, geometry=Geometry.from_matrix((SIDE,) * 3, np.eye(4)), modality="CT")


def ours(cases: list[Case], cache: PreparedCache, augmentation: AugmentationSettings | None, workers: int = 0) -> Walk:
    """Our loader; each walk is an epoch."""
    dataset = PreparedDataset(cases, cache, FINDINGS, augmentation)
    batches = EvenBatches(EpochSampler(EpochOrder(len(cases), 0, shuffle=True)), BATCH)
    loader = CaseLoader(dataset, batches, workers)

    def walk() -> Iterator[Any]:
        batches.sampler.set_epoch(batches.sampler.epoch + 1)
        return (batch.image for batch in loader)

    return walk


def mapped(arrays: list[NDArray[np.float32]]) -> Walk:
    """Copy memory-mapped voxels into batches: the least that any loader must do."""

    def walk() -> Iterator[Any]:
        order = np.random.default_rng(0).permutation(len(arrays))
        for start in range(0, len(order), BATCH):
            batch = np.empty((BATCH, *arrays[0].shape), np.float32)
            for row, index in zip(batch, order[start : start + BATCH], strict=True):
                row[...] = arrays[index]
            yield torch.from_numpy(batch)

    return walk


def monai(kind: str, files: list[Path], folder: Path, augmented: bool, workers: int = 0, *, meta: bool = False) -> Walk:
    """MONAI's data sets with its DataLoader; what they keep is float32.

    As they come, images carry metadata; without (``set_track_meta(False)``) they load several times faster.
    """
    set_track_meta(meta)
    steps: list[Any] = [LoadImaged("image"), EnsureChannelFirstd("image", channel_dim=0)]
    if augmented:
        turn = np.deg2rad(DEGREES)
        steps += [RandFlipd("image", prob=0.5, spatial_axis=axis) for axis in range(3)]
        steps.append(
            RandAffined(
                "image",
                prob=1.0,
                rotate_range=(turn,) * 3,
                scale_range=(SCALE,) * 3,
                translate_range=(SHIFT,) * 3,
                mode="bilinear",
                padding_mode="border",
            )
        )
    items = [{"image": str(file)} for file in files]
    chain = Compose(steps)
    dataset = (
        PersistentDataset(items, chain, cache_dir=folder / f"monai-{augmented}-{meta}")
        if kind == "persistent"
        else CacheDataset(items, chain, progress=False)
    )
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def walk() -> Iterator[Any]:
        set_track_meta(meta)
        return (batch["image"] for batch in loader)

    return walk


def matrices(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random flips, rotations and scales within the same ranges, shape (count, 3, 3)."""
    found = []
    for turns in rng.uniform(-1, 1, (count, 3)) * np.deg2rad(DEGREES):
        matrix = np.diag(rng.choice([-1.0, 1.0], 3)) / (1 + SCALE * rng.uniform(-1, 1))
        for (first, second), angle in zip(((1, 2), (2, 0), (0, 1)), turns, strict=True):
            plane = np.eye(3)
            plane[first, first] = plane[second, second] = np.cos(angle)
            plane[second, first], plane[first, second] = np.sin(angle), -np.sin(angle)
            matrix = matrix @ plane
        found.append(matrix)
    return np.array(found)


def torch_grids(arrays: list[NDArray[np.float32]]) -> Walk:
    """Batched affine_grid and grid_sample, from memory."""
    images = torch.from_numpy(np.stack(arrays))
    rng = np.random.default_rng(0)

    def walk() -> Iterator[Any]:
        for rows in torch.randperm(len(images)).split(BATCH):
            shifts = rng.uniform(-SHIFT, SHIFT, (len(rows), 3, 1)) * 2 / SIDE
            theta = torch.from_numpy(np.concatenate([matrices(len(rows), rng), shifts], axis=2)).float()
            batch = images[rows]
            grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
            yield F.grid_sample(batch, grid, padding_mode="border", align_corners=False)

    return walk


def simpleitk(arrays: list[NDArray[np.float32]]) -> Walk:
    """SimpleITK's resampling on as many threads as there are processors, from memory."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(psutil.cpu_count() or 1)
    rng = np.random.default_rng(0)
    middle = [(SIDE - 1) / 2] * 3
    images = [sitk.GetImageFromArray(array[0]) for array in arrays]

    def walk() -> Iterator[Any]:
        for rows in np.random.default_rng(0).permutation(len(images)).reshape(-1, BATCH):
            batch = np.empty((BATCH, 1, SIDE, SIDE, SIDE), np.float32)
            for out, index, matrix in zip(batch, rows, matrices(BATCH, rng), strict=True):
                move = sitk.AffineTransform(3)
                move.SetMatrix(matrix.ravel().tolist())
                move.SetCenter(middle)
                move.SetTranslation(rng.uniform(-SHIFT, SHIFT, 3).tolist())
                out[0] = sitk.GetArrayViewFromImage(sitk.Resample(images[index], move, sitk.sitkLinear))
            yield torch.from_numpy(batch)

    return walk


def rate(walk: Walk) -> float:
    """Samples a second of one walk, and of more where it is a short one; what is delivered is checked."""
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < LEAST_SECONDS:
        for image in walk():
            assert image.dtype == torch.float32 and image.shape[1:] == (1, SIDE, SIDE, SIDE), (image.dtype, image.shape)
            count += len(image)
    return count / (time.perf_counter() - started)


def contest(walks: dict[str, Walk], turns: int) -> dict[str, float]:
    """Median rate of each, in turns, after a walk that warms up (and fills MONAI's cache)."""
    for walk in walks.values():
        rate(walk)
    found: dict[str, list[float]] = {name: [] for name in walks}
    for _ in range(turns):
        for name, walk in walks.items():
            found[name].append(rate(walk))
    return {name: statistics.median(values) for name, values in found.items()}


def memory(walk: Walk) -> float:
    """Megabytes that a loader's worker processes have for themselves, once half an epoch was walked (USS)."""
    batches = iter(walk())
    for _ in range(CASES // BATCH // 2):
        next(batches)
    return sum(child.memory_full_info().uss for child in psutil.Process().children()) / 1e6


def main() -> None:
    """Run the contest and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn, nothing written")
    turns = 1 if parser.parse_args().quick else TURNS
    warnings.filterwarnings("ignore", module="monai")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plan = make_plan().model_copy(update={"size": (SIDE,) * 3})
        cases = [make_case(number, Split.TRAIN, 3) for number in range(CASES)]
        cache = PreparedCache(folder / "ours", plan)
        half = PreparedCache(folder / "ours", plan.model_copy(update={"voxels": "float16"}))
        assert cache.fill(cases, read) == half.fill(cases, read) == ()
        arrays = [cache.load(case) for case in cases]
        files = [folder / f"{number}.npy" for number in range(CASES)]
        for file, array in zip(files, arrays, strict=True):
            np.save(file, array)
        plain = contest(
            {
                "ours": ours(cases, half, None),
                "ours, float32 in the cache": ours(cases, cache, None),
                "MONAI PersistentDataset": monai("persistent", files, folder, False),
                "MONAI PersistentDataset, 2 workers": monai("persistent", files, folder, False, 2),
                "MONAI CacheDataset in memory": monai("cache", files, folder, False),
                "MONAI PersistentDataset, with metadata": monai("persistent", files, folder, False, meta=True),
                "MONAI CacheDataset in memory, with metadata": monai("cache", files, folder, False, meta=True),
                "memory-map copy, nothing else": mapped(arrays),
            },
            turns,
        )
        held = [np.array(array) for array in arrays]
        changed = contest(
            {
                "ours": ours(cases, half, AUGMENTATION),
                "ours, float32 in the cache": ours(cases, cache, AUGMENTATION),
                "MONAI PersistentDataset": monai("persistent", files, folder, True),
                "MONAI PersistentDataset, 2 workers": monai("persistent", files, folder, True, 2),
                "MONAI CacheDataset in memory": monai("cache", files, folder, True),
                "MONAI PersistentDataset, with metadata": monai("persistent", files, folder, True, meta=True),
                "MONAI CacheDataset in memory, with metadata": monai("cache", files, folder, True, meta=True),
                "torch affine_grid + grid_sample": torch_grids(held),
                "SimpleITK, all processors": simpleitk(held),
            },
            turns,
        )
        # pages of the system's cache that this process maps too are nobody's own
        pages = [np.load(half.path(case), mmap_mode="r") for case in cases]
        assert all(np.isfinite(page).all() for page in pages)
        used = {workers: memory(ours(cases, half, AUGMENTATION, workers)) for workers in WORKERS}
    body = "\n\n".join(
        [
            f"{CASES} cases of {SIDE} x {SIDE} x {SIDE}, batches of {BATCH} in float32 (all contestants), in the page "
            "cache; the cache of ours holds float16, as plans of cases of this size have it, that of all others "
            f"float32; medians of {turns} turns of {LEAST_SECONDS:g} s or more. MONAI's images carry metadata as they "
            "come; rows without it are what its fast-training guide advises. No augmentation:",
            rates_table(plain),
            f"Flips (p 0.5 on each axis) and an affine (p 1): up to {DEGREES:g} degrees about each axis, scale "
            f"1 ± {SCALE:g}, shift up to {SHIFT} voxels, linear; ours on {torch.get_num_threads()} threads:",
            rates_table(changed),
            "Memory that the worker processes of our loader have for themselves: "
            + ", ".join(f"{workers} workers {value:.0f} MB" for workers, value in used.items())
            + ".",
        ]
    )
    print(body)
    if turns == TURNS:
        write_section("loading", "Loading", body, ("torch", "monai", "numba", "SimpleITK", "numpy"))


def rates_table(rates: dict[str, float]) -> str:
    """Samples a second, and ours over theirs."""
    mine = rates["ours"]
    rows = [[name, f"{value:,.0f}", "" if name == "ours" else f"{mine / value:.2f}"] for name, value in rates.items()]
    return table(["loader", "samples/s", "ours / theirs"], rows)


if __name__ == "__main__":
    main()
