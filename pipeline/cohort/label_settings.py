"""Settings of the label file: which column says what."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config import Settings
from pipeline.domain.finding import CodedConcept, FindingKind

DateRule = Literal["", "first", "last", "nearest", "same_day", "every"]


def _word(value: Any) -> Any:
    """Turn what YAML makes of an unquoted word (``yes`` is a boolean, ``1`` a number) back into the word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value


Word = Annotated[str, BeforeValidator(_word)]


class FindingColumn(Settings):
    """One finding: where its labels stand and what they mean."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Name of the finding.")
    column: str = Field(default="", description="Column with its labels; default: the name.")
    columns: dict[Word, str] = Field(
        default={}, description="Multilabel with a column a class: class to column. Cells say yes or no."
    )
    kind: FindingKind = Field(default=FindingKind.BINARY, description="binary, multiclass, multilabel or ordinal.")
    positive: Word = Field(default="", description="Binary: the class that a decision is about.")
    classes: tuple[Word, ...] = Field(
        default=(),
        description="Classes; ordinal: required, in rising order. Default: what the column holds, if no "
        "class of it is a word for what is not known (NA, unknown, ?, ...).",
    )
    values: dict[Word, Word] = Field(
        default={},
        description="What a cell holds to the class that it means; multilabel: '' is none present, beside `columns` "
        "yes or no.",
    )
    concept: CodedConcept | None = Field(default=None, description="Coded concept for a structured report.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind is FindingKind.BINARY and not self.positive and len(self.classes) != 2:
            raise ValueError("a binary finding needs `positive` (or `classes`: negative, positive)")
        if self.kind is FindingKind.BINARY and self.classes and len(set(self.classes)) != 2:
            raise ValueError("a binary finding has two classes")
        if self.positive and self.classes and self.positive not in self.classes:
            raise ValueError(f"positive {self.positive!r} is none of the classes {list(self.classes)}")
        if self.kind is FindingKind.ORDINAL and len(self.classes) < 2:
            raise ValueError("an ordinal finding needs `classes` in rising order")
        if self.columns and self.kind is not FindingKind.MULTILABEL:
            raise ValueError("`columns` is for multilabel findings; give `column`")
        if self.kind is FindingKind.MULTILABEL:
            for name in (*self.classes, *self.columns, *self.values.values()):
                if "|" in name or name.startswith("?"):
                    raise ValueError(f"class {name!r} must not hold '|' or begin with '?'")
        self._check_values()
        return self

    def _check_values(self) -> None:
        if "" in (*self.classes, *self.columns):
            raise ValueError("a class has no name")
        if self.columns:
            if strange := sorted(set(self.values.values()) - {"yes", "no"}):
                raise ValueError(f"`values` names {strange}; beside `columns` it says yes or no")
            return
        if self.kind is not FindingKind.MULTILABEL and (
            blank := [word for word, name in self.values.items() if not name]
        ):
            raise ValueError(f"`values` gives {blank} no class; words that mean not known belong in labels.unknown")
        if self.classes and (strange := sorted(set(self.values.values()) - {*self.classes, ""})):
            raise ValueError(f"`values` names {strange}, which are none of the classes {list(self.classes)}")

    @property
    def source(self) -> str:
        """Column of a finding that has one."""
        return self.column or self.name


class LabelSettings(Settings):
    """How the label file is read. A column that is not given is found by the usual spellings, e.g. ``Patient ID``."""

    file: Path | None = Field(default=None, description="CSV, TSV or XLSX; null makes an inventory of the scans.")
    sheet: str = Field(default="", description="XLSX: name of the sheet; needed where several hold something.")
    findings: tuple[FindingColumn, ...] = Field(
        default=(),
        description="Such as {name: lesion, column: lesion, kind: binary, positive: 'yes'}. Empty: every column that "
        "holds nothing but yes and no (or 1 and 0, true and false, ...).",
    )
    patient_column: str = Field(default="", description="Patient id; the patient of NIfTI files and pictures.")
    study_column: str = Field(default="", description="Study instance UID.")
    series_column: str = Field(default="", description="Series instance UID.")
    accession_column: str = Field(default="", description="Accession number.")
    path_column: str = Field(default="", description="File or folder, relative to the scan folder.")
    laterality_column: str = Field(
        default="",
        description="Side that a row is about: L, R, B (both in one image) or a "
        "usual word for it. It goes to no scan whose header says another side.",
    )
    split_column: str = Field(default="", description="A split that is given: train, validation or test. Never found.")
    modality_column: str = Field(default="", description="Modality of NIfTI files and pictures, by path.")
    covariates: dict[str, str] = Field(
        default={}, description="Covariate to column: {site: hospital, age: age}; goes before what headers say."
    )
    unknown: tuple[Word, ...] = Field(default=(), description="Words that mean that a label is not known, as a blank.")
    date_column: str = Field(default="", description="Day that a row of a patient is about.")
    date_format: str = Field(
        default="", description="As in %d/%m/%Y. Default: 2024-03-01, 20240301 and 01.03.2024 are understood."
    )
    date_rule: DateRule = Field(
        default="",
        description="Which study of a patient a row is about, where it names none: first, last; by `date_column` "
        "nearest, same_day; every, where what it says holds at each visit. Default: none is chosen, the cases are "
        "AMBIGUOUS_LABEL.",
    )
    delimiter: str = Field(default="", max_length=1, description="Default: whichever of ; , and tab the header shows.")
    encoding: str = Field(
        default="", description="Default: by the byte-order mark, else UTF-8, else Windows-1252 with a note."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.date_rule in ("nearest", "same_day") and not self.date_column:
            raise ValueError(f"date_rule {self.date_rule} needs a date_column")
        if len({finding.name for finding in self.findings}) != len(self.findings):
            raise ValueError("two findings have one name")
        if self.findings and self.file is None:
            raise ValueError("file is required where findings are given")
        return self
