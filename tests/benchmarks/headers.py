"""Headers of a folder: ours against a loop of pydicom, on ten thousand files. Run: python tests/benchmarks/headers.py.

The peer is the loop that everyone writes: ``dcmread(path, stop_before_pixels=True)`` for every file of the folder. Ours
finds series, refuses what is bad, and checks that the pixels are all there. Both run in turns in one process; neither
starts another one.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pydicom
from benchmarks.results import table, write_section
from phantoms.dicom_series import Identity, make_item, write_series
from pydicom.dataset import Dataset

from pipeline.readers.discovery import discover
from pipeline.readers.index import FolderIndex
from pipeline.readers.options import ReadOptions

SLICES = 100
TEXTS = ("InstitutionName", "StationName", "OperatorsName", "ProtocolName", "StudyDescription", "BodyPartExamined")
TIMES = ("SeriesTime", "StudyTime", "AcquisitionTime", "ContentTime")


def dress(dataset: Dataset, _: int) -> None:
    """Give a slice as many elements as a scanner writes: 200, some in sequences, some private."""
    block = dataset.private_block(0x0029, "PHANTOM HEADER", create=True)
    for number in range(0x10, 0x70):
        block.add_new(number, "LO", f"value {number}")
    for number in range(0x70, 0x80):
        block.add_new(number, "DS", [number / 8, number / 16])
    codes = [make_item(CodeValue=str(n), CodingSchemeDesignator="DCM", CodeMeaning=f"meaning {n}") for n in range(4)]
    dataset.ProcedureCodeSequence = codes
    dataset.ReferencedImageSequence = [
        make_item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=f"1.2.3.{n}")
        for n in range(6)
    ]
    for keyword in TEXTS:
        setattr(dataset, keyword, f"{keyword} of a phantom"[:16].upper())
    for keyword in TIMES:
        setattr(dataset, keyword, "120000")


def write_folder(folder: Path, files: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 1000, (64, 64, SLICES)).astype(np.int16)
    for number in range(files // SLICES):
        write_series(folder / f"{number:04d}", pixels, identity=Identity.numbered(number), edit=dress)


def pydicom_loop(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            pydicom.dcmread(path, stop_before_pixels=True)


def measured(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, run in turns; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="resdx-headers-"))
    try:
        write_folder(home / "scans", given.files)
        options, index = ReadOptions(), FolderIndex(home / "index.sqlite", racy_ns=0)
        found = discover(home / "scans", options, index=index)
        assert len(found.series) == given.files // SLICES and not found.refusals
        seconds = measured(
            {
                "pydicom loop, stop_before_pixels": lambda: pydicom_loop(home / "scans"),
                "discover": lambda: discover(home / "scans", options, digests=False),
                "discover, with the sha256 of every file": lambda: discover(home / "scans", options),
                "discover, nothing has changed": lambda: discover(home / "scans", options, index=index),
            },
            given.rounds,
        )
    finally:
        shutil.rmtree(home)
    peer = seconds["pydicom loop, stop_before_pixels"]
    rows = [
        (name, f"{took:.3f}", f"{1e6 * took / given.files:.0f}", f"{took / peer:.3f}") for name, took in seconds.items()
    ]
    body = table(("headers", "s", "us a file", "ratio to the loop"), rows)
    title = f"Headers of a folder of {given.files} files"
    elements = "about 230 elements a header, 64 x 64 pixels, files in the page cache"
    print(write_section("headers", title, body, ("pydicom",), remarks=(elements, *given.remark)))


if __name__ == "__main__":
    main()
