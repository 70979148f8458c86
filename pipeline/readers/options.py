"""Settings of reading, for every verb that reads scans."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.config import Settings

SplitKey = Literal[
    "ImageType",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "ConvolutionKernel",
    "KVP",
    "StackID",
    "TriggerTime",
    "AcquisitionNumber",
    "ComplexImageComponent",
    "NominalPercentageOfRespiratoryPhase",
    "FlipAngle",
    "SequenceName",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
]
"""Attributes of a slice that a series may be split by."""


class MendOptions(Settings):
    """What may be mended rather than refused. Whatever was mended is noted in the case, beginning with MENDED."""

    tilt: bool = Field(
        default=False,
        description="Resample slices of a tilted gantry, or a sheared NIfTI affine, onto a straight grid, linearly. "
        "The grid grows until it holds every slice; what no slice covers is marked as padding. Off: TILT, SHEAR.",
    )
    spacing: bool = Field(
        default=False,
        description="Resample slices at uneven distances to an even one, the smallest distance between two of them, "
        "linearly along their normal: values in a gap are interpolated, not measured. Off: GAP, SPACING.",
    )
    largest_gap_mm: PositiveFloat = Field(
        default=10.0,
        description="With `spacing`: where two neighbours are further apart than this, in mm, the series is still "
        "refused, for nothing is known of what lies between them.",
    )


class ReadOptions(Settings):
    """How scans are read. Nothing here makes a guess; limits protect the machine."""

    modality: str = Field(
        default="", description="Modality of NIfTI files and pictures, which do not say it: CT, MR, US, OP, ..."
    )
    max_bytes: PositiveInt = Field(
        default=4 * 1024**3, description="Largest volume, decoded, in bytes; a header that claims more is TOO_LARGE."
    )
    suv: bool = Field(
        default=False,
        description="Give PET in standardized uptake values by body weight (g/ml) instead of the unit of the scanner, "
        "noted in the case; a series whose header does not say all that it takes is refused, NO_SUV. Give the same "
        "value to every verb that reads these scans.",
    )
    split_by: tuple[SplitKey, ...] = Field(
        default=(),
        description="Split every DICOM series by these attributes too, each value (also an absent one) a volume of its "
        "own: `[AcquisitionNumber]` for two passes in one series, `[Rows, Columns]` for slices of two sizes. Echoes, "
        "phases, b-values and stacks of one series are told apart without it.",
    )
    mend: MendOptions = Field(
        default=MendOptions(),
        description="Corrections that are made only when asked for; give the same ones to every verb that reads "
        "these scans.",
    )
