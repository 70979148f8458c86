"""What a reader part does. Discovery knows nothing of formats; it asks the parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.domain.series import Refusal, Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.readers.options import ReadOptions

HEAD_BYTES = 2048
"""How much of a file a reader sees to claim it: a NIfTI header with its magic, also where it is gzipped."""

Load = Callable[[SourceFile], bytes]
"""Returns the content of a file of the series, having verified that it is the one that was discovered."""


class HeaderCutError(Exception):
    """The beginning of a file does not tell what it is; its reader asks for the whole."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Series of a folder, and the files that joined none. Each inspected file is in one or the other."""

    series: tuple[Series, ...]
    refusals: tuple[Refusal, ...]


class Reader(Protocol):
    """One format."""

    suffixes: tuple[str, ...]
    """File name endings, lower case, that claim this format; a file so named that is none is rejected."""

    def claims(self, head: bytes) -> bool:
        """Whether the first :data:`HEAD_BYTES` bytes of a file are those of this format."""

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> Any:
        """Read the header; allocates nothing of the size of the pixels.

        Parameters
        ----------
        content : bytes
            The file. Where it is shorter than `file.size` says, its beginning.

        Raises
        ------
        HeaderCutError
            The beginning does not tell.
        RejectedInput
            With the code of a skip or of a rejection.
        """

    def assemble(self, headers: Sequence[Any], options: ReadOptions) -> Assembled:
        """Group inspected files into series, and check what can be checked without pixels."""

    def read(self, series: Series, load: Load, options: ReadOptions) -> Volume:
        """Decode one series.

        Raises
        ------
        RejectedInput
            See :class:`pipeline.domain.codes.Code`.
        """
