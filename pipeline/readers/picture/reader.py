"""The reader of pictures."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.options import ReadOptions
from pipeline.readers.picture import jpeg, png
from pipeline.readers.picture.decoding import Header, upright
from pipeline.readers.reader import Assembled, Load
from pipeline.readers.single_file import Inspected, assemble, check_whole, constant_note, modality_of

FLOAT32_BYTES = 4


class PictureReader:
    """PNG and JPEG: i runs along a row, j down the rows, k is 1; the unit is the pixel."""

    suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")

    def claims(self, head: bytes) -> bool:
        """By the signature."""
        return head.startswith((png.SIGNATURE, jpeg.SIGNATURE))

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> Inspected:
        """Check structure and size; see :class:`pipeline.readers.reader.Reader`."""
        check_whole(file, content)
        return Inspected(file, _geometry(_header(content, options)))

    def assemble(self, headers: Sequence[Inspected], options: ReadOptions) -> Assembled:
        """Make one series a file."""
        return assemble("picture", headers, options)

    def read(self, series: Series, load: Load, options: ReadOptions) -> Volume:
        """Decode a file; see :class:`pipeline.readers.reader.Reader`."""
        (file,) = series.files
        try:
            modality = modality_of(series, options)
            content = load(file)
            header = _header(content, options)
            samples, notes = _format(content).samples(content)
        except RejectedInput as error:
            error.path = str(file.path)
            raise
        if header.orientation != 1:
            notes = (*notes, f"turned upright as EXIF orientation {header.orientation} asks")
        turned = upright(samples, header.orientation)
        voxels = np.ascontiguousarray(turned.transpose(2, 1, 0)[..., np.newaxis], dtype=np.float32)
        return Volume(voxels, _geometry(header), modality, notes=(*notes, *constant_note(voxels)))


def _format(content: bytes) -> ModuleType:
    return png if content.startswith(png.SIGNATURE) else jpeg


def _header(content: bytes, options: ReadOptions) -> Header:
    header: Header = _format(content).header(content)
    claimed = header.columns * header.rows * header.channels * FLOAT32_BYTES
    if claimed > options.max_bytes:
        size = f"{header.columns} x {header.rows} pixels"
        raise RejectedInput(Code.TOO_LARGE, f"the header claims {size}; the limit is {options.max_bytes} bytes decoded")
    return header


def _geometry(header: Header) -> Geometry:
    """Pixels without a scale: the affine is the identity, in pixels."""
    columns, rows = header.shape
    return Geometry.from_matrix((columns, rows, 1), np.eye(4), Unit.PIXEL)
