"""From words to classes: a finding with what each row says about it. A blank is unknown, never negative."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from pipeline.cohort.label_classes import refuse_spellings, refuse_unknown
from pipeline.cohort.label_columns import column_named
from pipeline.cohort.label_file import LabelTable, places
from pipeline.cohort.label_settings import FindingColumn
from pipeline.cohort.label_words import NO, OPPOSITES, YES, answers, is_unknown, is_unknown_or_none, negative_of
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.errors import LabelFileError

Labels = tuple[str | None, ...]
"""One value a row of the table, as in :attr:`pipeline.domain.case.Case.labels`; None is unknown."""


@dataclass(frozen=True, slots=True)
class LabelledFinding:
    """A finding, the columns it stands in, and its label in each row."""

    finding: Finding
    columns: tuple[str, ...]
    labels: Labels


def read_finding(settings: FindingColumn, table: LabelTable, unknown: Sequence[str] = ()) -> LabelledFinding:
    """Read the labels of one finding from the whole file.

    Raises
    ------
    LabelFileError
        A word that means nothing (naming lines and column), or one class only in the whole column.
    """
    if settings.columns:
        return _from_columns(settings, table, unknown)
    column = column_named(table, settings.source, f"labels.findings.{settings.name}")
    words = _words(table, column, unknown)
    classes: tuple[str, ...]
    match settings.kind:
        case FindingKind.BINARY:
            classes, meaning = _binary(settings, table, column, words)
        case FindingKind.MULTILABEL:
            return _from_marks(settings, table, column, words)
        case _:
            classes = settings.classes or _classes_seen(settings, table, column, words)
            meaning = _meaning(classes, settings.values)
    labels = _translated(table, column, words, meaning, classes)
    _need_two(table, column, {label for label in labels if label is not None})
    return LabelledFinding(_finding(settings, classes), (column,), labels)


def yes_no_findings(table: LabelTable, taken: frozenset[str], unknown: Sequence[str] = ()) -> tuple[FindingColumn, ...]:
    """Find the columns that hold yes and no, and nothing else, where the settings name no finding.

    Raises
    ------
    LabelFileError
        There is none.
    """
    found: list[FindingColumn] = []
    almost: dict[str, list[str]] = {}
    names = set(table.columns)
    for column in (name for name in table.columns if name not in taken):
        words = {word for word in _words(table, column, unknown) if word}
        yes = sorted(word for word in words if word.casefold() in YES)
        no = sorted(word for word in words if word.casefold() in NO)
        if yes and no and len(yes) + len(no) == len(words):
            is_name = column.isidentifier() and column.isascii() and column[0] != "_"
            name = column if is_name else next(one for n in count(1) if (one := f"finding_{n}") not in names)
            names.add(name)
            found.append(FindingColumn(name=name, column=column, positive=yes[0], classes=(no[0], yes[0])))
        elif yes and no and all(is_unknown(word) for word in words - {*yes, *no}):
            almost[column] = sorted(words - {*yes, *no})
    if not found and almost:
        nothing = sorted({word for words in almost.values() for word in words})
        shown = ", ".join(f"{column} holds {', '.join(map(repr, words))} besides" for column, words in almost.items())
        raise LabelFileError(
            f"No column of {table.name} holds nothing but yes and no; {shown}.",
            f'Where that says that nothing is known, give "labels.unknown=[{", ".join(map(repr, nothing))}]".',
        )
    if not found:
        raise LabelFileError(
            f"No column of {table.name} holds nothing but yes and no; it has {', '.join(table.columns)}.",
            "Say what to learn: \"labels.findings=[{name: lesion, column: lesion, kind: binary, positive: 'yes'}]\"",
        )
    return tuple(found)


def _words(table: LabelTable, column: str, unknown: Sequence[str]) -> list[str]:
    """Cells without surrounding blanks; what is unknown is empty."""
    nothing = {word.casefold() for word in unknown}
    stripped = (row.cells[column].strip() for row in table.rows)
    return ["" if word.casefold() in nothing else word for word in stripped]


def _binary(
    settings: FindingColumn, table: LabelTable, column: str, words: Sequence[str]
) -> tuple[tuple[str, str], Callable[[str], str | None]]:
    positive = settings.positive or settings.classes[1]
    said = _said(settings, words)
    negative = next((name for name in settings.classes if name != positive), "")
    if not negative:
        negative = negative_of(positive, [name for name in said if name])
        if not negative or is_unknown(negative):
            meant = {positive, OPPOSITES.get(positive, ""), *settings.values.values()}
            refuse_unknown(table, column, [{name} - {""} for name in said], meant)
    if not negative:
        raise LabelFileError(
            f"{table.name}, column {column}: several words stand beside the positive class {positive!r}.",
            f"Say what they mean with labels.findings.{settings.name}.values, or give `classes`.",
        )
    known = _meaning((negative, positive), settings.values)
    synonyms = answers(negative, positive)
    return (negative, positive), lambda word: known(word) or synonyms.get(word.casefold())


def _meaning(classes: Sequence[str], values: Mapping[str, str]) -> Callable[[str], str | None]:
    """Class of a word: as mapped, else a class written in any case."""
    exact = {name: name for name in classes} | dict(values)
    loose: dict[str, set[str]] = defaultdict(set)
    for word, name in exact.items():
        loose[word.casefold()].add(name)

    def meaning(word: str) -> str | None:
        if word in exact:
            return exact[word]
        names = loose.get(word.casefold(), set())
        return next(iter(names)) if len(names) == 1 else None

    return meaning


def _said(settings: FindingColumn, words: Sequence[str]) -> list[str]:
    """Class that each word means or, where no setting says it, is."""
    mapped = _meaning((), settings.values)
    return [word if (name := mapped(word)) is None else name for word in words]


def _classes_seen(settings: FindingColumn, table: LabelTable, column: str, words: Sequence[str]) -> tuple[str, ...]:
    said = [{name} - {""} for name in _said(settings, words)]
    refuse_unknown(table, column, said, settings.values.values())
    refuse_spellings(table, column, said, settings.values.values())
    return tuple(sorted(set().union(*said)))


def _translated(
    table: LabelTable,
    column: str,
    words: Sequence[str],
    meaning: Callable[[str], str | None],
    expected: Sequence[str],
) -> Labels:
    labels = [meaning(word) if word else None for word in words]
    strange = [row.line for row, word, label in zip(table.rows, words, labels, strict=True) if word and label is None]
    if strange:
        _stop(table, column, strange, expected)
    return tuple(labels)


def _from_columns(settings: FindingColumn, table: LabelTable, unknown: Sequence[str]) -> LabelledFinding:
    """Multilabel with a column a class."""
    classes = settings.classes or tuple(settings.columns)
    key = f"labels.findings.{settings.name}.columns"
    if set(classes) != set(settings.columns):
        raise LabelFileError(f"{key} must name a column for each of the classes {', '.join(classes)}.")
    columns = [column_named(table, settings.columns[name], key) for name in classes]
    words = answers("no", "yes") | {word.casefold(): name for word, name in settings.values.items()}
    said = [
        _translated(
            table, column, _words(table, column, unknown), lambda word: words.get(word.casefold()), ["yes", "no"]
        )
        for column in columns
    ]
    for column, labels in zip(columns, said, strict=True):
        _need_two(table, column, {label for label in labels if label is not None})
    rows = [_marks(classes, row) for row in zip(*said, strict=True)]
    return LabelledFinding(_finding(settings, classes), tuple(columns), tuple(rows))


def _marks(classes: Sequence[str], said: Sequence[str | None]) -> str | None:
    if all(answer is None for answer in said):
        return None
    marks = {"yes": "{}", "no": "", None: "?{}"}
    written = (marks[answer].format(name) for name, answer in zip(classes, said, strict=True))
    return SEPARATOR.join(filter(None, written))


def _from_marks(settings: FindingColumn, table: LabelTable, column: str, words: Sequence[str]) -> LabelledFinding:
    """Multilabel in one column, classes separated by ``|`` or ``;``."""
    split = [[mark.strip() for mark in word.replace(";", SEPARATOR).split(SEPARATOR) if mark.strip()] for word in words]
    classes = settings.classes or _marks_seen(settings, table, column, split)
    meaning, none_present = _meaning(classes, settings.values), NO - {name.casefold() for name in classes}
    labels, strange = [], []
    for row, marks in zip(table.rows, split, strict=True):
        names = {"" if mark.casefold() in none_present else meaning(mark) for mark in marks}
        if None in names or ("" in names and len(names) > 1):
            strange.append(row.line)
        labels.append(SEPARATOR.join(name for name in classes if name in names) if names else None)
    if strange:
        _stop(table, column, strange, [*classes, "no"])
    for name in classes:
        present = {name in label.split(SEPARATOR) for label in labels if label is not None}
        if len(present) < 2:
            raise LabelFileError(
                f"{table.name}, column {column}: class {name!r} stands in every row, or in none.",
                "A model needs cases with and without it; leave it out of `classes`.",
            )
    return LabelledFinding(_finding(settings, classes), (column,), tuple(labels))


def _marks_seen(
    settings: FindingColumn, table: LabelTable, column: str, split: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    said = [{name for name in _said(settings, marks) if name and name.casefold() not in NO} for marks in split]
    refuse_unknown(table, column, said, settings.values.values(), is_unknown_or_none)
    refuse_spellings(table, column, said, settings.values.values())
    return tuple(sorted(set().union(*said)))


def _stop(table: LabelTable, column: str, lines: Sequence[int], expected: Sequence[str]) -> None:
    """Refuse words without repeating them: a cell that has slipped may hold a name."""
    raise LabelFileError(
        f"{table.name}, column {column}, {places(lines)}: not one of {', '.join(expected)}.",
        "Correct the cells, or say what they mean with `values` of that finding or with labels.unknown.",
    )


def _need_two(table: LabelTable, column: str, seen: set[str]) -> None:
    if len(seen) < 2:
        only = f"one class only ({next(iter(seen))})" if seen else "no label at all"
        raise LabelFileError(
            f"{table.name}, column {column}: holds {only}.", "A finding needs cases of at least two classes."
        )


def _finding(settings: FindingColumn, classes: Sequence[str]) -> Finding:
    return Finding(
        name=settings.name,
        kind=settings.kind,
        classes=tuple(classes),
        positive=classes[1] if settings.kind is FindingKind.BINARY else "",
        concept=settings.concept,
    )
