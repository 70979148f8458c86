"""Sides in label files and headers: left, right, or both as one."""

import re
from collections.abc import Iterable, Sequence

from pipeline.cohort.label_file import LabelTable, places
from pipeline.errors import LabelFileError

WORDS = {
    "L": "l left lt os le links linke linkes gauche izquierda izquierdo esquerda esquerdo sinistra sinistro sinister",
    "R": "r right rt od re rechts rechte rechtes droite droit derecha derecho direita direito destra destro dexter",
    "B": "b both bilateral ou beide beidseits bilaterale ambas ambos",
}
SIDES = {word: side for side, words in WORDS.items() for word in words.split()}
"""Words of the clinics, without case and full stops. OS, OD and OU are the left eye, the right one and both."""

PAIRED = frozenset({"breast", "breasts", "eye", "eyes", "side", "brust", "auge", "seite", "sein", "œil", "mama", "ojo"})
"""What may stand beside such a word: ``right breast``."""

LONG = 4
"""Letters of a word that tells a side in any text; re, le, os and lt are other words, too."""

UNPAIRED = frozenset({"u", "unpaired"})
"""DICOM's U: the part of the body has no sides."""


def side_of(text: str) -> str:
    """L, R, or B for both in one; empty where the text is none of the words, or says two things."""
    words = re.split(r"[\s()_-]+", text.casefold().replace(".", ""))
    told = {SIDES.get(word, "") for word in words if word and word not in PAIRED}
    return told.pop() if len(told) == 1 else ""


def names_side(text: str) -> bool:
    """Whether a name has left or right in it, written out in one of the languages: ``effusion_left``, ``leftHip``."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))
    return any(len(word) >= LONG and SIDES.get(word.casefold(), "B") != "B" for word in words)


def side_in_headers(said: Iterable[str]) -> str:
    """Side that all headers of a case agree on (PS3.3 C.7.3.1: Laterality), else empty."""
    sides = {side_of(text) for text in said}
    return sides.pop() if len(sides) == 1 else ""


def row_sides(table: LabelTable, column: str, unknown: Sequence[str] = ()) -> tuple[str, ...]:
    """Side of each row, empty where it says none or there is no column.

    Raises
    ------
    LabelFileError
        Cells that are no side, naming their lines: taken for none, their labels would go to whichever side was scanned.
    """
    if not column:
        return ("",) * len(table.rows)
    none = {"", *UNPAIRED, *(word.strip().casefold() for word in unknown)}
    texts = [row.cells[column].strip() for row in table.rows]
    sides = ["" if text.casefold() in none else side_of(text) for text in texts]
    pairs = zip(table.rows, texts, sides, strict=True)
    if strange := [row.line for row, text, side in pairs if not side and text.casefold() not in none]:
        raise LabelFileError(
            f"{table.name}, column {column}, {places(strange)}: no side such as L, R or B (both in one image).",
            "Correct the cells, or name words for a side that is not known in labels.unknown. If the column is about "
            "something else, give it another name.",
        )
    return tuple(sides)
