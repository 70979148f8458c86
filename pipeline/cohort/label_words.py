"""Words for yes and no, for what is not known, and what stands opposite to a word."""

import re
from collections.abc import Sequence

YES = frozenset({"yes", "y", "true", "positive", "pos", "1"})
NO = frozenset({"no", "n", "false", "negative", "neg", "0"})

UNKNOWN = frozenset(
    {"na", "n/a", "n.a.", "<na>", "nan", "null", "unknown", "unk", "missing", "not known", "not available"}
    | {"not applicable", "unbekannt", "keine angabe", "k.a.", "inconnu", "desconocido"}
    | {"#n/a", "#ref!", "#value!", "#div/0!", "#name?", "#num!", "#null!"}
)
"""No class unless the settings say so; the last line is what a failed formula shows.

``none`` is not among them: it is a class beside mild and severe.
"""

MARKS = re.compile(r"[-\u2013\u2014?._/*]+")
"""Cells without a word."""

NONE = frozenset({"none", "nil"})

OPPOSITES = {
    "yes": "no",
    "y": "n",
    "true": "false",
    "positive": "negative",
    "pos": "neg",
    "1": "0",
    "+": "-",
    "present": "absent",
    "malignant": "benign",
    "abnormal": "normal",
}


def is_unknown(word: str) -> bool:
    """Whether a word says that nothing is known."""
    return word.casefold() in UNKNOWN or MARKS.fullmatch(word) is not None


def is_unknown_or_none(word: str) -> bool:
    """Whether a word names nothing in a list of what is present, where ``none`` is no class either."""
    return is_unknown(word) or word.casefold() in NONE


def answers(negative: str, positive: str) -> dict[str, str]:
    """Synonyms, in lower case, to the class they mean. ``positive: no`` turns them round."""
    yes, no = (negative, positive) if positive.casefold() in NO else (positive, negative)
    return dict.fromkeys(YES, yes) | dict.fromkeys(NO, no)


def negative_of(positive: str, words: Sequence[str]) -> str:
    """Name of the class opposite to `positive`, given the words of the column; empty where it cannot be told.

    Of a word for yes or no it is the natural opposite. Of any other it is its opposite where the column holds it, else
    the only other word of the column.
    """
    others = sorted({word for word in words if word.casefold() != positive.casefold()})
    both = OPPOSITES | {no: yes for yes, no in OPPOSITES.items()}
    opposite = _as_written(both.get(positive.casefold(), ""), positive)
    if opposite and (written := [word for word in others if word.casefold() == opposite.casefold()]):
        return written[0]
    if positive.casefold() in YES | NO:
        return opposite
    others = [word for word in others if word.casefold() not in YES]
    distinct = {word.casefold() for word in others}
    return others[0] if len(distinct) == 1 or (distinct and distinct <= NO) else ""


def _as_written(word: str, like: str) -> str:
    """`word` in the letters of `like`: Yes, No; YES, NO."""
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word
