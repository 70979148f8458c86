"""Settings of reading, for every verb that reads scans."""

from pydantic import Field, PositiveInt

from pipeline.config import Settings


class ReadOptions(Settings):
    """How scans are read. Nothing here makes a guess; limits protect the machine."""

    modality: str = Field(
        default="", description="Modality of NIfTI files and pictures, which do not say it: CT, MR, US, OP, ..."
    )
    max_bytes: PositiveInt = Field(
        default=4 * 1024**3, description="Largest volume, decoded, in bytes; a header that claims more is TOO_LARGE."
    )
