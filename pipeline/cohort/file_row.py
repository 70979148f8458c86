"""One input file in the tables of files: where it ended."""

from pipeline.domain.frozen import Frozen
from pipeline.domain.series import Disposition

SEPARATOR = "|"
"""Between pseudonyms where one file carries several stacks."""


class FileRow(Frozen):
    """Where one input file ended. May carry a source path; see promise 8 in the README.

    Attributes
    ----------
    path : str
        Absolute.
    sha256 : str
        Of the content; empty when it could not be read.
    code : str
        Why it is skipped or rejected (:class:`pipeline.domain.codes.Code`); empty when it is used.
    series, case : str
        Pseudonyms, several joined by ``|``. Of a used file: the series and cases it is used in; else the series it was
        refused with, and no case.
    """

    path: str
    sha256: str
    disposition: Disposition
    code: str = ""
    series: str = ""
    case: str = ""
