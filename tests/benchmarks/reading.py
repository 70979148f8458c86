"""Time from files to a checked volume, against others: ``python tests/benchmarks/reading.py``.

We read several series with two warm workers, as ingest does; the others read one after the other, as they are. All of
them take turns, and what is printed is the ratio of medians. It writes its section of RESULTS.md.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import decoders
from benchmarks.contestants import ours, peers
from benchmarks.results import table, write_section
from benchmarks.scans import SYNTAXES, chest, write

from pipeline.domain.series import Series
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.workers import imap

WORKERS = 2
WARM = 4
"""Series that the workers read before time is taken."""

SERIES = 12
"""Series of one turn of ours; of compressed ones, which take seconds, a third."""

PACKAGES = ("pydicom", "imagecodecs", "numpy", "dcm2niix", "SimpleITK", "highdicom", "monai")
SLOW = frozenset({"highdicom", "monai"})
"""Take seconds even for raw pixels: one turn tells."""

Row = tuple[float, float]
"""Seconds and processor seconds a series."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=list(SYNTAXES), choices=list(SYNTAXES))
    parser.add_argument("--remark", action="append", default=[], help="printed below the table")
    given = parser.parse_args(arguments)
    heads = ("pixels", "reader", "s a series", "processor s", "ours / theirs", "processor, ours / theirs")
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as root:
        for name in given.only:
            folder = Path(root) / name.replace(" ", "")
            write(folder, chest(given.slices), SYNTAXES[name])
            rows += _rows(name, _race(folder, given.turns, SERIES // (1 if name == "raw" else 3)))
            print(table(heads, rows[-len(peers()) - 1 :]), flush=True)
    body = f"{_introduction(given.slices, given.turns)}\n\n{table(heads, rows)}\n\n{decoders.section()}"
    packages = (*PACKAGES, *decoders.PACKAGES)
    print(write_section("reading", "Reading a series", body, packages, remarks=given.remark))


def _introduction(slices: int, turns: int) -> str:
    return (
        f"One CT series, {slices} x 512 x 512 int16, in the page cache, into float32 voxels with their affine. Ours: "
        f"{SERIES} series ({SERIES // 3} of compressed ones) on {WORKERS} warm worker processes, seconds divided by "
        f"series, file digests verified. Others: as they are, one series after the other; dcm2niix also starts a "
        f"program and writes its file (to memory). Medians of {turns} turns; of {' and '.join(sorted(SLOW))}, of one."
    )


def _race(folder: Path, turns: int, count: int) -> dict[str, list[Row]]:
    (series,) = discover(folder, ReadOptions()).series
    times: dict[str, list[Row]] = defaultdict(list)
    _check(folder, series)
    for turn in range(turns):
        times["ours"].append(_ours(series, count))
        for name, peer in peers().items():
            if turn == 0 or name not in SLOW:
                times[name].append(peer(folder)[:2])
    return times


def _check(folder: Path, series: Series) -> None:
    """Read once with everybody, which also warms them, and say who reads other voxels."""
    total = ours(series, check=True)[2]
    for name, peer in peers().items():
        if (theirs := peer(folder, check=True)[2]) != total:
            print(f"{name} reads other voxels: their sum is {theirs}, ours {total}", file=sys.stderr)


def _ours(series: Series, count: int) -> Row:
    """Read the series `count` times, from the moment at which the workers are warm."""
    outcomes = imap(ours, [series] * (WARM + count), processes=WORKERS, timeout_seconds=600)
    processor = []
    for outcome in outcomes:
        assert outcome.value is not None, outcome.error
        processor.append(outcome.value[1])
        if len(processor) == WARM:
            begun = time.perf_counter()
    return (time.perf_counter() - begun) / count, statistics.median(processor[WARM:])


def _rows(pixels: str, times: dict[str, list[Row]]) -> list[tuple[str, ...]]:
    medians = {name: tuple(map(statistics.median, zip(*rows, strict=True))) for name, rows in times.items()}
    rows = []
    for name, (seconds, cpu) in medians.items():
        ratios = tuple(f"{ours / theirs:.2f}" for ours, theirs in zip(medians["ours"], (seconds, cpu), strict=True))
        rows.append((pixels, name, f"{seconds:.3f}", f"{cpu:.3f}", *(("", "") if name == "ours" else ratios)))
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
