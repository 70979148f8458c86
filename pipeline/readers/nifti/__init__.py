"""NIfTI-1 and NIfTI-2 in a single file, plain or gzipped; see nifti1.h and nifti2.h of the NIfTI initiative."""

from typing import TYPE_CHECKING, Literal

from pipeline.config import Part

if TYPE_CHECKING:
    from pipeline.readers.reader import Reader


class Config(Part):
    """The NIfTI reader has no settings of its own; see :class:`pipeline.readers.options.ReadOptions`."""

    kind: Literal["nifti"] = "nifti"

    def build(self) -> "Reader":
        """Make the reader."""
        from pipeline.readers.nifti.reader import NiftiReader

        return NiftiReader()
