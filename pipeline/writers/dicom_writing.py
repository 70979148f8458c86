"""Writing the DICOM objects of a case, of every kind that is wanted, from its sources, which are read once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.writers.dicom_objects import CaseReport, NoObjectError, Written
from pipeline.writers.dicom_sources import DicomSources, read_sources


class DicomObjectWriter(Protocol):
    """One kind of DICOM object of a case."""

    def write(self, folder: Path, report: CaseReport, sources: DicomSources) -> Written:
        """Write the objects of a case, each in one step, named after the case's pseudonym.

        An equal report gives equal bytes, and with them equal UIDs; whatever changes the content changes the UIDs,
        for no two objects may share one.

        Parameters
        ----------
        sources : DicomSources
            What the files of the report say.

        Raises
        ------
        DiskFull
            What stood there before is whole.
        """


def write_objects(writers: Sequence[DicomObjectWriter], folder: Path, report: CaseReport) -> list[Written]:
    """Write the objects of a case with every writer.

    Sources that are no DICOM have no patient and no study to be filed under: nothing is written, and the reason, which
    is one for all writers, says so.

    Raises
    ------
    RejectedInput
        A source file cannot be read, or is no longer the one that was predicted.
    DiskFull
        What stood there before is whole.
    """
    try:
        sources = read_sources(report.sources)
    except NoObjectError as error:
        return [Written((), str(error))]
    return [writer.write(folder, report, sources) for writer in writers]
