"""Read N mutants, print the verdicts and, where asked, put them into benchmarks/RESULTS.md.

From the root of the repository: ``PYTHONPATH=.:tests python -W ignore -m fuzzing 10000 --write``
"""

import argparse
import os
import resource
import sys
import time

from benchmarks.results import table, write_section
from fuzzing.campaign import MEMORY_BYTES, SECONDS, Verdicts, run
from fuzzing.mutants import SEED

PACKAGES = ("pydicom", "imagecodecs", "numpy", "SimpleITK", "nibabel", "pylibjpeg-openjpeg", "Pillow")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("mutants", type=int, nargs="?", default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="replace the section of RESULTS.md")
    asked = parser.parse_args()
    start = time.monotonic()
    verdicts = run(range(asked.first, asked.first + asked.mutants), asked.processes)
    text = body(verdicts)
    print(text, *verdicts.failures, sep="\n")
    if asked.write:
        remark = f"{time.monotonic() - start:.0f} s; the largest process, oracles included, held {_largest()} MB"
        write_section("fuzzing", "Fuzzing", text, PACKAGES, remarks=[remark])
    return 1 if verdicts.failures else 0


def body(verdicts: Verdicts) -> str:
    """The verdicts as text and a table."""
    told = (
        f"By `PYTHONPATH=.:tests python -W ignore -m fuzzing {verdicts.mutants} --write`. "
        f"Sound DICOM in every transfer syntax, NIfTI, PNG and JPEG, each damaged in one to three ways (seed {SEED}), "
        f"read in processes with {SECONDS:g} s and {MEMORY_BYTES // 1024**2} MB a mutant. What is accepted must have "
        "the place and the voxels that independent readers find. One of several files may be refused, and the rest "
        "confirmed: the rows do not add up."
    )
    rows = [
        ("mutants", verdicts.mutants),
        ("past the header, into a series", verdicts.parsed),
        *((f"accepted, {who}", count) for who, count in verdicts.confirmed.most_common()),
        *((f"refused, {code}", count) for code, count in verdicts.refused.most_common()),
        ("failures: crash, hang, memory, INTERNAL, or read wrong", len(verdicts.failures)),
    ]
    return f"{told}\n\n{table(('verdict', 'mutants'), [(name, str(count)) for name, count in rows])}"


def _largest() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
