"""What the writers of DICOM objects share: what goes in, what comes out, and how long a text may be.

These objects go back to the PACS, so they carry the patient's identifiers, taken from the headers of the source
images: the one exception to pseudonyms in what we write. File names stay pseudonyms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import Finding
from pipeline.domain.frozen import Frozen
from pipeline.domain.prediction import Prediction
from pipeline.domain.series import SourceFile
from pipeline.errors import UsageError

LONG_STRING = 64
"""Characters that a value of LO may have (PS3.5 6.2)."""

DISCLAIMER = "Research use only, not for clinical use: computed by a model, read and verified by nobody."
"""Stands in every object."""


class ModelIdentity(Frozen):
    """Which model spoke.

    Attributes
    ----------
    name : str
        Of its card.
    digest : str
        Of the package; its first characters are the version of the algorithm.
    software : str
        Version of resdx.
    engine : str
        What ran it: ``torch``, ``openvino``, ...
    """

    name: str
    digest: str
    software: str
    engine: str = ""

    @property
    def version(self) -> str:
        """The digest, short enough to be read aloud."""
        return self.digest[:12]


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One prediction and all that its DICOM objects are made of.

    Attributes
    ----------
    findings : sequence of Finding
        Of the model, also those that the prediction is silent about.
    sources : sequence of SourceFile
        Every file that the case was read from, of all its series; the study of the first is the one reported on.
    made : datetime
        When the case was predicted, with a time zone: all dates and times of the objects. Keep it beside the
        prediction, so that a case that is written again gives the same objects.
    sheets : mapping of str to ndarray
        Finding to its picture, uint8 ``(rows, columns, 3)``, RGB: the heatmap over the scan.
    sheet_method : str
        What made the heatmaps, in words.
    """

    prediction: Prediction
    findings: Sequence[Finding]
    model: ModelIdentity
    sources: Sequence[SourceFile]
    made: datetime
    sheets: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    sheet_method: str = "saliency"

    def __post_init__(self) -> None:
        assert self.made.tzinfo is not None, "made needs a time zone"
        names = {finding.name for finding in self.findings}
        assert set(self.sheets) | {answer.finding for answer in self.prediction.findings} <= names, "unknown finding"
        for name, sheet in self.sheets.items():
            assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3, f"{name}: no RGB picture"


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were written; where there are none, why, in words that name no patient."""

    paths: tuple[Path, ...]
    reason: str = ""


class NoObjectError(ValueError):
    """No object can be made of these sources, and why; it becomes :attr:`Written.reason`."""


def report_path(folder: Path, case: str) -> Path:
    """Where the structured report of a case lies."""
    return folder / f"{case}_sr.dcm"


def capture_path(folder: Path, case: str, finding: str) -> Path:
    """Where the secondary capture of a finding of a case lies."""
    return folder / f"{case}_{finding}_sc.dcm"


def object_paths(folder: Path, case: str, findings: Sequence[str]) -> set[Path]:
    """All files that the writers may have left of a case, whether they are there or not."""
    return {report_path(folder, case), *(capture_path(folder, case, finding) for finding in findings)}


def check_installed() -> None:
    """Say what to install where highdicom is missing, before work begins.

    Raises
    ------
    UsageError
    """
    if find_spec("highdicom") is None:
        raise UsageError(
            "DICOM objects are written with highdicom, which is not installed.", "pip install 'resdx[dicom]'"
        )


def fitted(text: str, length: int = LONG_STRING) -> str:
    r"""Text as a value of LO or SH holds it: one line, no backslash (it parts values), cut with an ellipsis.

    The standard counts characters. Bytes of UTF-8 are counted here, as dciodvfy and archives of old age do.
    """
    plain = "".join(" " if not char.isprintable() else char for char in text.replace("\\", "/"))
    plain = " ".join(plain.split()) or "(empty)"
    encoded = plain.encode("utf-8")
    return plain if len(encoded) <= length else encoded[: length - 3].decode("utf-8", "ignore").rstrip() + "..."
