"""Which column of a label file says what: as mapped, else found by its usual spellings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.cohort.label_file import LabelTable
from pipeline.cohort.label_settings import LabelSettings
from pipeline.errors import LabelFileError

SPELLINGS = {
    "series": ("seriesinstanceuid", "seriesuid"),
    "path": ("path", "relativepath", "filepath", "file", "filename", "image", "imagepath", "imagefile"),
    "study": ("studyinstanceuid", "studyuid"),
    "accession": ("accessionnumber", "accession", "accessionno", "accno"),
    "patient": ("patientid", "patient", "pid", "subjectid", "subject", "participantid", "mrn"),
    "laterality": ("laterality", "imagelaterality", "side"),
}
"""Spellings, without case, blanks and punctuation. ``StudyID`` is none: it is another attribute than the UID."""

LEVELS = ("series", "path", "study", "accession", "patient")
"""Columns that name a scan, the most specific first."""


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """Columns of a file.

    Attributes
    ----------
    ids : dict of str to str
        Level of :data:`LEVELS` to column, in their order.
    mapped : frozenset of str
        Levels whose column was named in the settings.
    laterality, split, modality, date : str
        Empty where there is none.
    covariates : dict of str to str
        Covariate to column.
    """

    ids: dict[str, str]
    mapped: frozenset[str]
    laterality: str
    split: str
    modality: str
    date: str
    covariates: dict[str, str]

    @property
    def taken(self) -> frozenset[str]:
        """Every column with a role; the others may hold findings."""
        roles = (self.laterality, self.split, self.modality, self.date)
        return frozenset({*self.ids.values(), *roles, *self.covariates.values()} - {""})


def find_columns(settings: LabelSettings, table: LabelTable) -> LabelColumns:
    """Match settings and spellings with the header.

    Raises
    ------
    LabelFileError
        A mapped column is missing, two columns could be one, or none names a scan.
    """
    mapped = {level: getattr(settings, f"{level}_column") for level in SPELLINGS}
    roles = {
        level: column_named(table, mapped[level], f"labels.{level}_column") if mapped[level] else _found(table, level)
        for level in SPELLINGS
    }
    ids = {level: roles[level] for level in LEVELS if roles[level]}
    if not ids:
        raise LabelFileError(
            f"{table.name} has no column that names a scan; it has {', '.join(table.columns)}.",
            "Map one: labels.patient_column, study_column, series_column, accession_column or path_column.",
        )
    named = {
        role: column_named(table, getattr(settings, f"{role}_column"), f"labels.{role}_column")
        for role in ("split", "modality", "date")
    }
    covariates = {
        name: column_named(table, column, f"labels.covariates.{name}") for name, column in settings.covariates.items()
    }
    if both := set(covariates.values()) & set(ids.values()):
        raise LabelFileError(
            f"labels.covariates: {', '.join(sorted(both))} identifies patients and must not stand in a manifest.",
            "Remove it from the covariates.",
        )
    return LabelColumns(
        ids=ids,
        mapped=frozenset(level for level in LEVELS if mapped[level]),
        laterality=roles["laterality"],
        split=named["split"],
        modality=named["modality"],
        date=named["date"],
        covariates=covariates,
    )


def column_named(table: LabelTable, name: str, key: str) -> str:
    """Return the column that a setting names: as written, else without regard to case and blanks; empty for empty.

    Raises
    ------
    LabelFileError
        There is no such column, or there are several.
    """
    if not name or name in table.columns:
        return name
    alike = [column for column in table.columns if _plain(column) == _plain(name)]
    if len(alike) == 1:
        return alike[0]
    raise LabelFileError(
        f"{key}: {table.name} has no column {name!r}; it has {', '.join(table.columns)}.", "Correct the name."
    )


def _found(table: LabelTable, level: str) -> str:
    alike = [column for column in table.columns if _plain(column) in SPELLINGS[level]]
    if len(alike) > 1:
        raise LabelFileError(
            f"{table.name}: {_either(alike)} could be the {level}.", f"Say which with labels.{level}_column."
        )
    return alike[0] if alike else ""


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.casefold())
