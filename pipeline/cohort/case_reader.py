"""From a case of a manifest back to its volume."""

import re

from pipeline.cohort.digests import files_digest
from pipeline.cohort.tables import FilesTable
from pipeline.domain.case import Case, CaseSeries
from pipeline.domain.codes import Code
from pipeline.domain.series import SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import reopen
from pipeline.readers.loading import load
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Load
from pipeline.readers.reading import read
from pipeline.readers.stacking import stack

ON_REQUEST = re.compile("(SUV|MENDED|SPLIT): ")
"""How notes begin that say what was done because the options ask for it."""


class CaseReader:
    """Reads cases by the table of files that was written with their manifest. Crosses to worker processes."""

    def __init__(self, files: FilesTable, options: ReadOptions) -> None:
        self.files = files
        self.options = options

    def read(self, case: Case) -> Volume:
        """Read a case exactly as it was ingested: its series, or several as channels on the grid of the first.

        Raises
        ------
        RejectedInput
            UNREADABLE where a file is gone, CHANGED where it is another one or is read by other `read` options than
            at ingest, and whatever reading and stacking raise.
        """
        first = case.series[0]
        if first.of == 1:
            return _as_ingested(case, self._read(first))
        parts: list[Volume | None] = [None] * first.of
        for series in case.series:
            parts[series.channel] = self._read(series)
        return _as_ingested(case, stack(parts))

    def _read(self, series: CaseSeries) -> Volume:
        files = self.files.of(series.series)
        if files_digest(files) != series.digest:
            raise RejectedInput(Code.CHANGED, "the table of input files does not list the files of this case")
        options = self.options.model_copy(update={"modality": series.modality})
        once = _loading_once()
        return read(reopen(series.reader, files, series.stack, options, once), options, once)


def _as_ingested(case: Case, volume: Volume) -> Volume:
    """Refuse a volume that was made otherwise than at ingest: in another unit, mended or not."""
    then, now = (set(filter(ON_REQUEST.match, notes)) for notes in (case.notes, volume.notes))
    if then != now:
        differing = sorted(note.split(":")[0] for note in then ^ now)
        message = f"it was ingested with other `read` options ({', '.join(dict.fromkeys(differing))}): give the same"
        raise RejectedInput(Code.CHANGED, message)
    return volume


def _loading_once() -> Load:
    """Load and verify each file at its first use, and hold it until the second: one for the header, one for pixels."""
    held: dict[SourceFile, bytes] = {}

    def once(file: SourceFile) -> bytes:
        content = held.pop(file, None)
        if content is None:
            content = held[file] = load(file)
        return content

    return once
