"""Settings of the de-identified copy."""

from pathlib import Path

from pydantic import Field

from pipeline.config import Settings


class CopySettings(Settings):
    """Whether and where the DICOM files of all cases are written once more, de-identified (PS3.15 Annex E)."""

    folder: Path | None = Field(
        default=None,
        description="Folder for the copy, outside the scans; null makes none. It must be new, empty, or an earlier "
        "copy, which is replaced. It holds no way back: the key of the pseudonyms must lie elsewhere.",
    )
    allow_burned_in: bool = Field(
        default=False,
        description="Copy also images into which a name may be burned: BurnedInAnnotation YES, ultrasound, secondary "
        "captures, photographs, overlays within the pixels. Pixels are copied as they are: look at them first.",
    )
