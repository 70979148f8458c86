"""What a prediction leaves beside its tables: settings."""

from typing import Self

from pydantic import Field, NonNegativeInt, model_validator

from pipeline.config import Settings
from pipeline.explanations.settings import ExplainSettings
from pipeline.writers.dicom_sending import Destination


class DicomSettings(Settings):
    """DICOM objects that go back to the PACS; they carry the patient's identifiers."""

    report: bool = Field(
        default=False, description="A structured report of each case (Comprehensive 3D SR) in dicom/, for the PACS."
    )
    captures: bool = Field(
        default=False,
        description="A secondary capture of each explained finding in dicom/, slices with the heatmap over them. Needs "
        "explain.method.",
    )
    send: Destination | None = Field(
        default=None, description="PACS to which the objects are sent by C-STORE, each once; null sends nothing."
    )

    @model_validator(mode="after")
    def _something_to_send(self) -> Self:
        if self.send is not None and not (self.report or self.captures):
            raise ValueError("send is given, and no object is made: set dicom.report=true, dicom.captures=true or both")
        return self


class OutputSettings(Settings):
    """What stands beside the tables."""

    page: bool = Field(
        default=True, description="predictions.html: all cases on one page that opens from disk, with their pictures."
    )
    pictures: bool = Field(
        default=True, description="Slices of each case, and its heatmaps over them, in pictures/ and on the page."
    )
    most_pictures: NonNegativeInt = Field(
        default=2000,
        description="Cases whose pictures stand on the page, the first in order; each adds up to 45 kB to it. Pictures "
        "of the others are in pictures/ all the same.",
    )
    explain: ExplainSettings = Field(
        default=ExplainSettings(), description="Heatmaps: where in a scan the network sees a finding."
    )
    dicom: DicomSettings = Field(default=DicomSettings(), description="DICOM objects for the PACS.")
