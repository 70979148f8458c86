"""Which row of the label file belongs to which case.

A row is joined by the most specific of its columns that is not blank: series UID, path, study UID, accession number,
patient id. Identifiers are compared as they stand; what almost matches is listed, see
:mod:`pipeline.cohort.label_damage`.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pipeline.cohort.label_columns import LabelColumns
from pipeline.cohort.label_damage import Damage, KnownIds, LabelProblem, damage_of
from pipeline.cohort.label_dates import row_days
from pipeline.cohort.label_file import LabelRow, LabelTable, places
from pipeline.cohort.label_settings import LabelSettings
from pipeline.cohort.label_sides import row_sides
from pipeline.cohort.label_targets import Target, Targets, pick_by_date
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.series import Series
from pipeline.errors import LabelFileError


@dataclass(frozen=True, slots=True)
class Joined:
    """The outcome.

    Attributes
    ----------
    rows : dict of str to LabelRow
        Unit key of a case to the row with its labels.
    numbers : dict of str to int
        Unit key to the position of that row in the table.
    ambiguous : dict of str to str
        Unit key of a case that is refused with AMBIGUOUS_LABEL, to the reason.
    unmatched : int
        Rows that belong to no case.
    problems : tuple of LabelProblem
        In the order of the file.
    notes : tuple of str
        Without identifiers.
    patients : dict of str to frozenset of str
        Unit key of a case in `numbers` to what its rows call its patient. PHI.
    has_own_numbers : bool
        Whether the patient column is nowhere the PatientID of the scans: it holds a study's own numbers, say.
    passed_over : dict of str to str
        Unit key to the row of its patient that is about another study, in words.
    """

    rows: dict[str, LabelRow]
    numbers: dict[str, int]
    ambiguous: dict[str, str]
    unmatched: int
    problems: tuple[LabelProblem, ...]
    notes: tuple[str, ...]
    patients: dict[str, frozenset[str]]
    has_own_numbers: bool
    passed_over: dict[str, str] = field(default_factory=dict)


def join_labels(
    settings: LabelSettings,
    table: LabelTable,
    columns: LabelColumns,
    candidates: Sequence[CaseCandidate],
    *,
    contents: Sequence[Hashable],
    refused: Sequence[Series] = (),
    root: Path,
) -> Joined:
    """Join rows to cases.

    Parameters
    ----------
    contents : sequence
        What each row says (labels, split, covariates); rows about one scan must say the same.
    refused : sequence of Series
        Series that were rejected: a row of their patient may be about them.
    root : Path
        The scan folder, for paths.

    Raises
    ------
    LabelFileError
        Two rows with one id say different things, or a date is malformed, or a side is none.
    """
    return _Join(settings, table, columns, Targets(candidates, refused, root), contents).run()


class _Join:
    def __init__(
        self,
        settings: LabelSettings,
        table: LabelTable,
        columns: LabelColumns,
        targets: Targets,
        contents: Sequence[Hashable],
    ) -> None:
        self.settings, self.table, self.targets, self.contents = settings, table, targets, contents
        self.columns = columns
        self.notes: list[str] = []
        self.problems: list[LabelProblem] = []
        self.has_own_numbers = False
        self.days = row_days(table, columns.date, settings.date_format)
        self.sides = row_sides(table, columns.laterality, settings.unknown)
        self.ids = self._useful_ids()
        self.claims: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        """Unit key to (specificity, row, reason why it is ambiguous) of each row that names it."""
        self.passed_over: dict[str, str] = {}

    def run(self) -> Joined:
        levels = [self._level(row) for row in self.table.rows]
        self._refuse_contradictions(levels)
        unmatched = sum(not self._claim(number, level) for number, level in enumerate(levels))
        self._check_patients(levels)
        numbers: dict[str, int] = {}
        ambiguous: dict[str, str] = {}
        patients: dict[str, frozenset[str]] = {}
        for key, claims in self.claims.items():
            best = min(specificity for specificity, _, _ in claims)
            chosen = [(row, reason) for specificity, row, reason in claims if specificity == best]
            reason = next((reason for _, reason in chosen if reason), "") or self._disagreement([r for r, _ in chosen])
            if reason:
                ambiguous[key] = reason
            else:
                numbers[key] = chosen[0][0]
                patients[key] = frozenset(self._patient(row) for row, _ in chosen) - {""}
        rows = {key: self.table.rows[number] for key, number in numbers.items()}
        problems = sorted(self.problems, key=lambda problem: (problem.line, problem.damage))
        known = (tuple(problems), tuple(self.notes), patients, self.has_own_numbers, self.passed_over)
        return Joined(rows, numbers, ambiguous, unmatched, *known)

    def _useful_ids(self) -> dict[str, str]:
        """Leave out a column of paths that was found by its name only and matches nothing: it is about other files."""
        ids = dict(self.columns.ids)
        path = ids.get("path", "")
        if path and "path" not in self.columns.mapped and len(ids) > 1:
            texts = {self.targets.key("path", row.cells[path]) for row in self.table.rows}
            if not any(self.targets.find("path", text) for text in texts):
                del ids["path"]
                self.notes.append(f"{self.table.name}: column {path} matches no scan and is not used.")
        return ids

    def _level(self, row: LabelRow) -> str:
        return next((level for level, column in self.ids.items() if row.cells[column].strip()), "")

    def _refuse_contradictions(self, levels: Sequence[str]) -> None:
        """Stop where one id has two answers; say it where it has the same one twice."""
        groups: dict[tuple[str, str, str, date | None], list[int]] = defaultdict(list)
        for number, (row, level) in enumerate(zip(self.table.rows, levels, strict=True)):
            if level:
                key = self.targets.key(level, row.cells[self.ids[level]])
                day = self.days[number] if self.settings.date_rule in ("nearest", "same_day") else None
                groups[level, key, self.sides[number], day].append(number)
        repeated = []
        for (level, *_), numbers in groups.items():
            lines = [self.table.rows[number].line for number in numbers]
            if len({self.contents[number] for number in numbers}) > 1:
                visits = "" if self.settings.date_rule else ", or give labels.date_rule"
                raise LabelFileError(
                    f"{self.table.name}, column {self.ids[level]}, {places(lines)}: the same id with different labels.",
                    f"Correct them; if they are about different visits, name the study{visits}.",
                )
            repeated += lines[1:]
        if repeated:
            self.notes.append(f"{self.table.name}, {places(sorted(repeated))}: repeat an earlier row and say the same.")

    def _claim(self, number: int, level: str) -> bool:
        """Note which cases a row names; return whether it names any."""
        row = self.table.rows[number]
        if not level:
            self._add(row, "", Damage.NO_SCAN)
            return False
        column = self.ids[level]
        suspicion = damage_of(row, column, self.targets.known(level)) if level != "path" else None
        if suspicion:
            self.problems.append(suspicion)
        named = self.targets.find(level, self.targets.key(level, row.cells[column]))
        found = of_side = [one for one in named if not self.sides[number] or one.side in ("", self.sides[number])]
        if level == "patient" and self.settings.date_rule:
            found = pick_by_date(of_side, self.settings.date_rule, self.days[number])
            if found or self.settings.date_rule == "same_day":
                self._pass_over(row, [target for target in of_side if target not in found])
        if not any(target.unit_key for target in found):
            if not suspicion:
                self._add(row, column, Damage.SCAN_REFUSED if found else self._why_none(row, level, of_side, named))
            return False
        reason = self._ambiguity(number, found, of_each=level == "patient" and self.settings.date_rule == "every")
        if reason:
            self._add(row, column, Damage.AMBIGUOUS)
        for target in found:
            if target.unit_key:
                self.claims[target.unit_key].append((list(self.ids).index(level), number, reason))
        return True

    def _pass_over(self, row: LabelRow, others: Sequence[Target]) -> None:
        rule = self.settings.date_rule
        what = "day" if rule == "same_day" else "study"
        why = f"line {row.line} of the label file is about another {what} of this patient (labels.date_rule: {rule})"
        self.passed_over |= {target.unit_key: why for target in others}

    def _why_none(self, row: LabelRow, level: str, of_side: Sequence[Target], named: Sequence[Target]) -> Damage:
        if any(target.unit_key for target in named):
            return Damage.NO_SCAN if of_side else Damage.OTHER_SIDE
        folder = self.targets.key("path", row.cells[self.ids[level]])
        return Damage.FOLDER if level == "patient" and self.targets.find("path", folder) else Damage.NO_SCAN

    def _ambiguity(self, number: int, found: Sequence[Target], *, of_each: bool) -> str:
        line = f"line {self.table.rows[number].line} of the label file"
        sides: dict[str, set[str]] = defaultdict(set)
        for target in found:
            sides[target.study].add(target.laterality)
        if len(sides) > 1 and not of_each:
            own = "" if any(target.has_study for target in found) else ", each a study of its own"
            return f"{line} belongs to {len(sides)} {'files' if own else 'studies'}{own}"
        if all(len(of_study) == 1 for of_study in sides.values()):
            return ""
        if self.sides[number]:
            return f"{line} is about one side, and not every scan that it may mean says which it shows"
        return f"{line} does not say which side it is about (labels.laterality_column)"

    def _disagreement(self, rows: Sequence[int]) -> str:
        if len({self.contents[number] for number in rows}) < 2:
            return ""
        return f"{places([self.table.rows[number].line for number in rows])} of the label file disagree about it"

    def _check_patients(self, levels: Sequence[str]) -> None:
        """Doubt rows that name a scan of another patient than they say.

        Where all of them do, and none names a patient of the scans, the column holds names of another kind (a study's
        own numbers, say).
        """
        column = self.ids.get("patient", "")
        pairs = [
            (number, row, target)
            for number, (row, level) in enumerate(zip(self.table.rows, levels, strict=True))
            if column and level not in ("", "patient") and row.cells[column].strip()
            for target in self.targets.find(level, self.targets.key(level, row.cells[self.ids[level]]))
            if target.unit_key and target.patient
        ]
        wrong = [(number, row, target) for number, row, target in pairs if row.cells[column] != target.patient]
        if len(wrong) == len(pairs) > 1 and not any(self._is_of_scans(row, column) for _, row, _ in wrong):
            self.has_own_numbers = True
            self.notes.append(
                f"{self.table.name}: column {column} is nowhere the PatientID of the scans; it is taken for numbers of "
                "another kind."
            )
            return
        for number, row, target in wrong:
            damaged = self._almost(row, column, target)
            if damaged:
                self.problems.append(damaged)
            else:
                self._add(row, column, Damage.OTHER_PATIENT)
                reason = f"line {row.line} of the label file names another patient than the header"
                self.claims[target.unit_key].append((-1, number, reason))

    def _is_of_scans(self, row: LabelRow, column: str) -> bool:
        """Whether the patient that a row names is one of the scans, or almost: columns were sorted apart, say."""
        known = self.targets.known("patient")
        return row.cells[column] in known.exact or damage_of(row, column, known) is not None

    @staticmethod
    def _almost(row: LabelRow, column: str, target: Target) -> LabelProblem | None:
        return damage_of(row, column, KnownIds([target.patient]))

    def _patient(self, number: int) -> str:
        column = self.ids.get("patient", "")
        return self.table.rows[number].cells[column].strip() if column else ""

    def _add(self, row: LabelRow, column: str, damage: Damage) -> None:
        self.problems.append(LabelProblem(row.line, column, row.cells[column] if column else "", damage))
