"""What may be reported about a case."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from pipeline.domain.frozen import Frozen

SEPARATOR = "|"
"""Between the classes of a multilabel finding where several stand in one cell: in labels, and in decisions."""


class FindingKind(StrEnum):
    """How the classes of a finding relate."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    ORDINAL = "ordinal"


class CodedConcept(Frozen):
    """A concept of a terminology, DICOM's code sequence triplet (PS3.3 8.8)."""

    value: str
    scheme: str = "SCT"
    meaning: str


class Finding(Frozen):
    """A question with its possible answers.

    Attributes
    ----------
    name : str
        Column-safe name, e.g. ``lesion``.
    kind : FindingKind
        binary: classes are (negative, positive). multiclass: exactly one. multilabel: any subset.
        ordinal: exactly one, in rising order.
    classes : tuple of str
        At least two (multilabel: at least one). The order is the order of the network's outputs.
    positive : str
        The class that a decision is about (binary only).
    concept : CodedConcept or None
        What a structured report says.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    kind: FindingKind
    classes: tuple[str, ...]
    positive: str = ""
    concept: CodedConcept | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        least = 1 if self.kind is FindingKind.MULTILABEL else 2
        if len(self.classes) < least or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"{self.name}: needs at least {least} distinct classes, got {list(self.classes)}")
        if self.kind is FindingKind.MULTILABEL and any(SEPARATOR in name for name in self.classes):
            raise ValueError(f"{self.name}: a class of a multilabel finding holds no {SEPARATOR}, which stands between")
        if self.kind is FindingKind.BINARY and (len(self.classes) != 2 or self.positive != self.classes[1]):
            raise ValueError(f"{self.name}: a binary finding has classes (negative, positive) and names the second")
        return self

    @property
    def outputs(self) -> int:
        """Number of logits: 1 for binary, classes - 1 for ordinal, else one a class."""
        match self.kind:
            case FindingKind.BINARY:
                return 1
            case FindingKind.ORDINAL:
                return len(self.classes) - 1
            case _:
                return len(self.classes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in predictions.csv: ``NAME_decision``, one ``NAME_p_CLASS`` a class, ``NAME_threshold``."""
        chances = (f"{self.name}_p_{label}" for label in self.classes)
        return (f"{self.name}_decision", *chances, f"{self.name}_threshold")


def check_columns(findings: Sequence[Finding]) -> None:
    """Refuse findings such as ``a`` with a class ``b_p_c`` beside ``a_p_b`` with ``c``.

    Raises
    ------
    ValueError
        Two of them would have one column in a table of predictions.
    """
    owners: dict[str, str] = {}
    for finding in findings:
        for column in finding.columns:
            if column in owners:
                raise ValueError(
                    f"findings {owners[column]} and {finding.name} would both have a column {column} in predictions.csv"
                )
            owners[column] = finding.name
