"""PNG (W3C, third edition) and JPEG (ITU-T T.81): single images without a scale, in pixels."""

from typing import TYPE_CHECKING, Literal

from pipeline.config import Part

if TYPE_CHECKING:
    from pipeline.readers.reader import Reader


class Config(Part):
    """The picture reader has no settings of its own; see :class:`pipeline.readers.options.ReadOptions`."""

    kind: Literal["picture"] = "picture"

    def build(self) -> "Reader":
        """Make the reader."""
        from pipeline.readers.picture.reader import PictureReader

        return PictureReader()
