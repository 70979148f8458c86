"""The DICOM reader: what a file is, which series it makes, and its voxels."""

from collections.abc import Sequence

from pipeline.domain.codes import Code
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.dicom import header as file_header
from pipeline.readers.dicom.assembly import assemble
from pipeline.readers.dicom.content import PARSE_ERRORS, looks_like_dicom
from pipeline.readers.dicom.filling import volume_of
from pipeline.readers.dicom.header import Header
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled, Load


class DicomReader:
    """Reads DICOM; see :class:`pipeline.readers.reader.Reader`."""

    suffixes: tuple[str, ...] = (".dcm", ".dicom", ".ima")

    def claims(self, head: bytes) -> bool:
        """Whether a file begins as DICOM, with or without its preamble."""
        return looks_like_dicom(head)

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> Header:
        """Read the header."""
        try:
            return file_header.read(file, content, options)
        except PARSE_ERRORS as error:
            if isinstance(error, RejectedInput):
                raise
            message = f"the header makes no sense ({type(error).__name__})"
            raise RejectedInput(Code.BAD_HEADER, message) from error

    def assemble(self, headers: Sequence[Header], options: ReadOptions) -> Assembled:
        """Group files into series."""
        return assemble(headers, options)

    def read(self, series: Series, load: Load, options: ReadOptions) -> Volume:
        """Decode a series: voxels (c, i, j, k), i along a row, j down the rows, k along the slice normal."""
        return volume_of(series, load, options)
