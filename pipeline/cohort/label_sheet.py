"""All that the label file says, row by row: findings, split, covariates, patient, modality."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cohort.covariates import check_ages, mapped
from pipeline.cohort.label_columns import LabelColumns, find_columns
from pipeline.cohort.label_file import LabelTable, load_labels, places
from pipeline.cohort.label_join import Joined, join_labels
from pipeline.cohort.label_settings import LabelSettings
from pipeline.cohort.label_sides import row_sides
from pipeline.cohort.label_targets import path_keys, paths_of
from pipeline.cohort.label_values import LabelledFinding, read_finding, yes_no_findings
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import Split
from pipeline.domain.finding import check_columns
from pipeline.domain.series import Discovery, Series
from pipeline.domain.terms import known_modality
from pipeline.errors import LabelFileError

SPLIT_WORDS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
}
SAYS_ITSELF = "dicom"
"""Reader whose files say their modality; a column does not overrule them."""


@dataclass(frozen=True, slots=True)
class LabelSheet:
    """The label file, understood. ``splits`` and ``findings`` hold one entry a row."""

    settings: LabelSettings
    table: LabelTable
    columns: LabelColumns
    findings: tuple[LabelledFinding, ...]
    splits: tuple[Split | None, ...]
    notes: tuple[str, ...]

    def labels(self, number: int) -> dict[str, str]:
        """Labels of a row, as in :attr:`pipeline.domain.case.Case.labels`."""
        told = {one.finding.name: one.labels[number] for one in self.findings}
        return {name: label for name, label in told.items() if label is not None}

    def join(self, candidates: Sequence[CaseCandidate], refused: Sequence[Series], root: Path) -> Joined:
        """Join rows to cases; see :func:`pipeline.cohort.label_join.join_labels`."""
        contents = [self._content(number) for number in range(len(self.table.rows))]
        return join_labels(
            self.settings, self.table, self.columns, candidates, contents=contents, refused=refused, root=root
        )

    def name_modalities(self, discovery: Discovery) -> Discovery:
        """Give NIfTI files and pictures the modality that their row says."""
        column, path = self.columns.modality, self.columns.ids.get("path", "")
        if not column or not path:
            return discovery
        exact: dict[str, str] = {}
        otherwise: dict[str, str] = {}
        for row in self.table.rows:
            first, *others = path_keys(row.cells[path], discovery.root)
            exact[first] = row.cells[column].strip()
            otherwise |= dict.fromkeys(others, exact[first])
        told = otherwise | exact

        def named(series: Series) -> Series:
            rows = [told[name] for name in paths_of(series.files[0].relative) if told.get(name)]
            return replace(series, modality=rows[0]) if rows and series.reader != SAYS_ITSELF else series

        return replace(discovery, series=tuple(map(named, discovery.series)))

    def _content(self, number: int) -> Hashable:
        """Gather what rows about one scan must agree on."""
        row = self.table.rows[number]
        covariates = mapped(row, self.columns.covariates)
        modality = row.cells[self.columns.modality].strip() if self.columns.modality else ""
        told = tuple(sorted(self.labels(number).items())), tuple(sorted(covariates.items()))
        return *told, self.splits[number], modality


def read_sheet(settings: LabelSettings) -> LabelSheet:
    """Read the label file and understand every row, before any scan is looked at.

    Raises
    ------
    LabelFileError
        Naming lines and columns.
    """
    table = load_labels(settings)
    columns = find_columns(settings, table)
    notes = list(table.notes)
    wanted = settings.findings
    if not wanted:
        wanted = yes_no_findings(table, columns.taken, settings.unknown)
        told = ", ".join(f"{one.name} (positive: {one.positive})" for one in wanted)
        notes.append(f"{table.name}: no finding was named; these columns hold yes and no: {told}.")
    if not columns.split and (unused := [name for name in table.columns if name.casefold() == "split"]):
        notes.append(f"{table.name}: column {unused[0]} is not used; set labels.split_column to use it.")
    check_ages(table, columns)
    _check_modalities(table, columns)
    row_sides(table, columns.laterality, settings.unknown)
    findings = tuple(read_finding(one, table, settings.unknown) for one in wanted)
    try:
        check_columns([one.finding for one in findings])
    except ValueError as error:
        raise LabelFileError(f"{error}.", "Give one of them another `name` in labels.findings.") from error
    return LabelSheet(settings, table, columns, findings, _splits(table, columns.split), tuple(notes))


def _splits(table: LabelTable, column: str) -> tuple[Split | None, ...]:
    if not column:
        return (None,) * len(table.rows)
    words = [row.cells[column].strip().casefold() for row in table.rows]
    if strange := [row.line for row, word in zip(table.rows, words, strict=True) if word not in SPLIT_WORDS]:
        raise LabelFileError(
            f"{table.name}, column {column}, {places(strange)}: not one of train, validation, test.",
            "Give every row its split, or leave labels.split_column out.",
        )
    return tuple(SPLIT_WORDS[word] for word in words)


def _check_modalities(table: LabelTable, columns: LabelColumns) -> None:
    column = columns.modality
    if not column:
        return
    if "path" not in columns.ids:
        raise LabelFileError(
            f"labels.modality_column: {table.name} has no column of paths, by which files get their modality.",
            "Give labels.path_column, or --modality for all.",
        )
    cells = [(row.line, row.cells[column].strip()) for row in table.rows]
    if strange := [line for line, text in cells if text and not known_modality(text)]:
        raise LabelFileError(
            f"{table.name}, column {column}, {places(strange)}: no modality such as CT, MR or OP.", "Correct the cells."
        )
