"""The folders of a prediction: scans and results lie apart, and what a killed process left is swept up."""

import re
import stat
from contextlib import suppress
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.readers.walking import check_scans
from pipeline.stages.predict_outputs import DICOM, HEATMAPS, PICTURES

LEFT_BEHIND = re.compile(r"\.tmp-[0-9a-f]{16}(\..+)?")
"""What a process that was killed leaves of a file that it was writing; see :mod:`pipeline.atomic`."""


def check_folders(scans: Path, out: Path) -> None:
    """Refuse to write among the scans, and to take what others write among them for ours.

    Raises
    ------
    UsageError
    """
    check_scans(scans)
    source, target = scans.resolve(), out.resolve()
    if target.is_relative_to(source):
        raise UsageError(f"{out} lies in the folder of scans.", "Give --out a place outside of it.")
    if source.is_relative_to(target):
        raise UsageError(f"{scans} lies in --out {out}.", "Give --out a folder of its own, beside that of the scans.")


def sweep(out: Path, *, before_ns: int) -> None:
    """Remove the temporary files of processes that were killed, where we write any: not below, and nothing of others.

    Parameters
    ----------
    before_ns : int
        Only what was last changed before; no clock but the file system's is asked (``st_ctime_ns``).
    """
    for folder in (out, out / PICTURES, out / HEATMAPS, out / DICOM):
        for path in (one for one in folder.glob(".tmp-*") if LEFT_BEHIND.fullmatch(one.name)):
            with suppress(FileNotFoundError):  # another process sweeps too
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_ctime_ns < before_ns:
                    path.unlink()
