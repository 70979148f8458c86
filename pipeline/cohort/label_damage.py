"""What a spreadsheet does to identifiers: found and listed, never mended.

A mended identifier is a guess about whose scan it is; the file is to be corrected instead. Messages name line and
column; the cell itself stands only in the table of label problems, which may carry identifiers (promise 8).
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.cohort.label_file import LabelRow, places


class Damage(StrEnum):
    """What is wrong with a row of the label file; the value stands in the ``problem`` column of its table."""

    NO_SCAN = "NO_SCAN"
    SCAN_REFUSED = "SCAN_REFUSED"
    LEADING_ZEROS = "LEADING_ZEROS"
    ROUNDED = "ROUNDED"
    BLANKS = "BLANKS"
    DECIMAL = "DECIMAL"
    CASE = "CASE"
    ACCENTS = "ACCENTS"
    OTHER_PATIENT = "OTHER_PATIENT"
    OTHER_SIDE = "OTHER_SIDE"
    FOLDER = "FOLDER"
    AMBIGUOUS = "AMBIGUOUS"


MEANING = {
    Damage.NO_SCAN: "no accepted scan belongs to this row: there is none, or it is among the rejections",
    Damage.SCAN_REFUSED: "the scan of this row is refused",
    Damage.LEADING_ZEROS: "a scan has this id with another number of leading zeros; format the column as text",
    Damage.ROUNDED: "a number, not the text of an id: its last digits are lost; format the column as text",
    Damage.BLANKS: "blanks that do not show, before or after the id; a scan has it without them",
    Damage.DECIMAL: "a scan has this id without '.0'; format the column as text",
    Damage.CASE: "a scan has this id in capitals or small letters",
    Damage.ACCENTS: "a scan has this id with its accents coded in another way (Unicode NFC and NFD look alike)",
    Damage.OTHER_PATIENT: "the scan that the row names is of another patient than the row says; columns may have been "
    "sorted apart",
    Damage.OTHER_SIDE: "the scans that the row names are of another side (laterality) than it says; of that side there "
    "is none, or it is among the rejections",
    Damage.FOLDER: "no scan has this patient id, and a folder has this name; where the row is about what lies in it, "
    "name the column in labels.path_column",
    Damage.AMBIGUOUS: "the row belongs to several studies or sides",
}

EXPONENT = re.compile(r"^[+-]?\d+([.,]\d+)?[eE][+-]?\d+$")
DECIMAL = re.compile(r"^\d+\.0+$")
INVISIBLE = "\u00a0\u2007\u202f\u200b\u200e\u200f\ufeff"
"""Blanks that str.strip leaves or a reader does not see: no-break, zero-width and direction marks."""


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """One suspicion. ``cell`` may hold an identifier."""

    line: int
    column: str
    cell: str
    damage: Damage

    @property
    def message(self) -> str:
        """What it means, without the cell."""
        return MEANING[self.damage]


class KnownIds:
    """Identifiers of one level that the scans have, in the forms that a spreadsheet turns them into."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.exact = frozenset(ids)
        self._without_zeros: dict[str, set[str]] = defaultdict(set)
        self._without_case: set[str] = set()
        self._composed: set[str] = set()
        for one in self.exact:
            self._composed.add(unicodedata.normalize("NFC", one))
            self._without_case.add(unicodedata.normalize("NFC", one).casefold())
            if one.isdigit():
                self._without_zeros[one.lstrip("0")].add(one)

    def damage(self, text: str) -> Damage | None:
        """Suspect an id that matches no scan as it stands, or matches one and almost matches another."""
        visible = text.strip().strip(INVISIBLE).strip()
        if visible != text and (visible in self.exact or self.damage(visible)):
            return Damage.BLANKS
        if EXPONENT.match(visible):
            return Damage.ROUNDED
        if text.isdigit() and self._without_zeros.get(text.lstrip("0"), set()) - {text}:
            return Damage.LEADING_ZEROS
        if text in self.exact:
            return None
        if DECIMAL.match(text) and (text.split(".")[0] in self.exact or self.damage(text.split(".")[0])):
            return Damage.DECIMAL
        composed = unicodedata.normalize("NFC", text)
        if composed in self._composed:
            return Damage.ACCENTS
        return Damage.CASE if composed.casefold() in self._without_case else None


def damage_of(row: LabelRow, column: str, known: KnownIds) -> LabelProblem | None:
    """Suspect the id in one cell."""
    text = row.cells[column]
    found = Damage.ROUNDED if column in row.rounded else known.damage(text)
    return LabelProblem(row.line, column, text, found) if found else None


def summary(name: str, problems: Sequence[LabelProblem]) -> tuple[str, ...]:
    """One sentence a kind and column, naming lines only."""
    groups: dict[tuple[Damage, str], list[int]] = defaultdict(list)
    for problem in problems:
        groups[problem.damage, problem.column].append(problem.line)
    return tuple(
        f"{name}, column {column}, {places(lines)}: {MEANING[damage]}."
        for (damage, column), lines in sorted(groups.items())
    )
