"""Classes that the cells of a column name and no setting does.

A word for what is not known is none of them, and one word in two spellings is one. A class that nobody meant is learned
like any other, so the run stops, and the settings say what is meant.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence

from pipeline.cohort.label_file import LabelTable, places
from pipeline.cohort.label_words import is_unknown
from pipeline.errors import LabelFileError

Named = Sequence[Collection[str]]
"""Classes that each row of the table would name."""


def refuse_unknown(
    table: LabelTable,
    column: str,
    names: Named,
    meant: Collection[str],
    is_none: Callable[[str], bool] = is_unknown,
) -> None:
    """Stop where a class is a word for what is not known.

    Parameters
    ----------
    meant : collection of str
        Classes that the settings name.
    is_none : callable
        Whether a word is no class.

    Raises
    ------
    LabelFileError
        Naming lines and column.
    """
    found = [
        (row.line, name)
        for row, said in zip(table.rows, names, strict=True)
        for name in said
        if name not in meant and is_none(name)
    ]
    if found:
        words = ", ".join(sorted({repr(name) for _, name in found}))  # of a list of ours, so that they name no one
        raise LabelFileError(
            f"{table.name}, column {column}, {_places(found)}: {words} would be a class like any other.",
            "Where it says that nothing is known, name it in labels.unknown; where it is a class, name them all with "
            "`classes` of that finding; else say what it means with `values`.",
        )


def refuse_spellings(table: LabelTable, column: str, names: Named, meant: Collection[str]) -> None:
    """Stop where two classes differ only in case, blanks or ``.0``.

    Raises
    ------
    LabelFileError
        Naming column and lines of all but the most frequent spelling.
    """
    cells = [(row.line, name) for row, said in zip(table.rows, names, strict=True) for name in said]
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for _, name in cells:
        groups[_plain(name)][name] += 1
    doubted = [spellings for spellings in groups.values() if not set(spellings) <= set(meant)]
    rare = {name for spellings in doubted for name, _ in spellings.most_common()[1:]}
    if rare:
        raise LabelFileError(
            f"{table.name}, column {column}, {_places([cell for cell in cells if cell[1] in rare])}: a class that "
            "differs from one of other lines only in case, blanks or '.0'.",
            "Write both alike, or say what each means with `values` of that finding. Where `classes` are named, case "
            "does not matter.",
        )


def _places(found: Sequence[tuple[int, str]]) -> str:
    return places(list(dict.fromkeys(line for line, _ in found)))


def _plain(name: str) -> str:
    """Leave what the spellings of one class have in common."""
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"(\d)[.,]0+$", r"\1", text)
