"""What one prediction is about."""

from enum import StrEnum

from pydantic import Field

from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.frozen import Frozen, digest
from pipeline.domain.geometry import Plane, Unit

POOLED_AGE = 90
"""Ages from here on are one: so few are that old that an age would name them (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""

UNKNOWN = -1
"""Encoded label of a case whose truth is not known; it enters no loss and no metric."""


class Split(StrEnum):
    """Which part of the experiment a patient belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class CaseSeries(Frozen):
    """One series of a case, without identifiers.

    Attributes
    ----------
    series : str
        Pseudonym.
    digest : str
        sha256 over the sorted sha256 of its files.
    voxels : str
        sha256 of the decoded voxels, which a second export shares although its files differ; empty: not taken.
    likeness : str
        Perceptual hash of its thumbnail, by which copies that are not equal are found; empty: not taken.
    channel, of : int
        Which channel of its case it fills, from 0, and how many there are; one that no series fills is empty.
        ``of`` = 1: the case is this series.
    """

    series: str
    reader: str
    stack: int = 0
    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: Unit
    plane: Plane
    channels: int
    digest: str
    voxels: str = ""
    likeness: str = ""
    channel: int = Field(default=0, ge=0)
    of: int = Field(default=1, ge=1)


class Case(Frozen):
    """One unit of prediction: by default a study; for mammography a side; for a picture the picture.

    Attributes
    ----------
    case, patient, study : str
        Pseudonyms.
    labels : dict of str to str
        Finding name to class name; multilabel: the present classes joined by ``|`` (``""`` is none present, a class
        written ``?name`` is unknown). A finding that is not known is absent.
    covariates : dict of str to str
        ``site, vendor, sex, age, ...``: whatever is known. Ages from :data:`POOLED_AGE` on are pooled.
    split : Split or None
        None where no labels were given.
    """

    case: str
    patient: str
    study: str
    series: tuple[CaseSeries, ...] = Field(min_length=1)
    labels: dict[str, str] = {}
    covariates: dict[str, str] = {}
    split: Split | None = None
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the pixels that the case rests on: those of all its series, and which channels they fill."""
        first, *others = self.series
        if first.of == 1 and not others:
            return first.digest
        return digest([[one.digest, one.stack, one.channel, one.of] for one in self.series])

    def encoded_label(self, finding: Finding) -> tuple[int, ...]:
        """Encode the label of a finding: ``(class index,)``, or one of 0, 1, UNKNOWN for each class if multilabel."""
        value = self.labels.get(finding.name)
        if finding.kind is FindingKind.MULTILABEL:
            if value is None:
                return (UNKNOWN,) * len(finding.classes)
            marks = set(filter(None, value.split(SEPARATOR)))
            return tuple(UNKNOWN if f"?{name}" in marks else int(name in marks) for name in finding.classes)
        return (UNKNOWN if value is None else finding.classes.index(value),)
