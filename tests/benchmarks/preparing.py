"""From a scan's grid to the plan's: ours against MONAI and SimpleITK on arrays in memory, in turns.

    python tests/benchmarks/preparing.py [--rounds 5]

Every contestant gets the same float32 voxels and gives the same grid. Ours blurs where the grid is coarser, so that
nothing aliases, and so does SimpleITK here (a recursive Gaussian of the same width before its linear interpolation);
MONAI's ``Spacing`` interpolates without a blur, which is less work. Writes the section "preparing" of RESULTS.md;
``--quick`` runs everything on small arrays and writes nothing.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import SimpleITK
import torch
from benchmarks.results import table, write_section
from monai.data import MetaTensor
from monai.transforms import Spacing
from numpy.typing import NDArray

from pipeline.preprocessing.grid import Axis, sample

Image = NDArray[np.float32]
CASES = {
    "CT, 512 x 512 x 200 to 128 cubed": ((512, 512, 200), (4.0, 4.0, 200 / 128)),
    "MR, 256 x 256 x 180 to 128 cubed": ((256, 256, 180), (2.0, 2.0, 180 / 128)),
    "MR, 128 x 128 x 60 to 128 cubed": ((128, 128, 60), (1.5, 1.5, 0.5)),
}


def axes_of(shape: Sequence[int], steps: Sequence[float]) -> list[Axis]:
    """Grids with one centre, as a plan's lies on a scan's."""
    sizes = [max(1, round(n / step)) for n, step in zip(shape, steps, strict=True)]
    return [Axis(n, m, step, (n - 1) / 2 - (m - 1) / 2 * step) for n, m, step in zip(shape, sizes, steps, strict=True)]


def by_simpleitk(image: Image, axes: Sequence[Axis]) -> Image:
    """Blur each axis by a recursive Gaussian (Deriche), then interpolate linearly."""
    scan = SimpleITK.GetImageFromArray(image)  # whose axes are (k, j, i)
    order = list(reversed(range(len(axes))))
    for place, number in enumerate(order):
        if axes[number].sigma > 0:
            scan = SimpleITK.RecursiveGaussian(
                scan, axes[number].sigma, False, SimpleITK.RecursiveGaussianImageFilter.ZeroOrder, place
            )
    grid = SimpleITK.Image([axes[number].target for number in order], SimpleITK.sitkFloat32)
    grid.SetOrigin([axes[number].offset for number in order])
    grid.SetSpacing([axes[number].step for number in order])
    return SimpleITK.GetArrayFromImage(SimpleITK.Resample(scan, grid, SimpleITK.Transform(), SimpleITK.sitkLinear))  # type: ignore[no-any-return]


def by_monai(image: Image, axes: Sequence[Axis]) -> Image:
    """Interpolate linearly, without a blur."""
    scan = MetaTensor(torch.from_numpy(image[np.newaxis]), affine=torch.eye(4))
    found = Spacing([axis.step for axis in axes], mode="bilinear", padding_mode="border")(scan)
    return np.asarray(found)[0]


RUNS: dict[str, Callable[[Image, Sequence[Axis]], Image]] = {
    "ours": lambda image, axes: sample(image, list(axes), 0.0),
    "SimpleITK": by_simpleitk,
    "MONAI Spacing, not blurred": by_monai,
}


def rows_of(shape: tuple[int, ...], steps: tuple[float, ...], rounds: int, name: str) -> list[tuple[str, ...]]:
    """Time all of one case; the first round warms up."""
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    axes = axes_of(shape, steps)
    seconds: dict[str, list[float]] = {run: [] for run in RUNS}
    inner = tuple(slice(axis.target // 4, axis.target - axis.target // 4) for axis in axes)
    found = {run: one(image, axes)[inner] for run, one in RUNS.items()}
    apart = float(np.abs(found["ours"] - found["SimpleITK"]).max() / found["ours"].std())
    for _ in range(rounds):
        for run, one in RUNS.items():
            began = time.perf_counter()
            one(image, axes)
            seconds[run].append(time.perf_counter() - began)
    own = statistics.median(seconds["ours"])
    rows = []
    for run, taken in seconds.items():
        median = statistics.median(taken)
        said = f"{apart:.2f}" if run == "SimpleITK" else ""
        rows.append((name, run, f"{median:.3f}", "" if run == "ours" else f"{own / median:.3f}", said))
        print(*rows[-1], flush=True)
    return rows


def main() -> None:
    """Time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small arrays; writes nothing")
    given = parser.parse_args()
    threads = torch.get_num_threads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    cases = {"small": ((32, 32, 20), (4.0, 4.0, 0.5))} if given.quick else CASES
    rows = [row for name, (shape, steps) in cases.items() for row in rows_of(shape, steps, given.rounds, name)]
    heads = ("scan and plan", "who", "s", "ours / theirs", "largest difference, in standard deviations")
    body = table(heads, rows)
    if given.quick:
        print(body)
        return
    remarks = [
        f"white noise in memory, C order; ours on 1 thread, the others on {threads}; medians of {given.rounds} turns "
        "after a warm-up",
        "SimpleITK's Gaussian is a recursive approximation, which differs most on white noise; to SciPy's ours is held "
        "by a test (tests/preprocessing/test_lines.py)",
    ]
    packages = ("numpy", "scipy", "SimpleITK", "monai", "torch")
    print(write_section("preparing", "From a scan's grid to the plan's", body, packages, remarks=remarks))


if __name__ == "__main__":
    main()
