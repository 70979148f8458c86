"""What ContrastBolusAgent says: DICOM leaves its words to whoever stands at the scanner (PS3.3 C.7.6.4)."""

import re
from typing import Literal

Agent = Literal["with", "without", "unclear"]

NOT_ANY = frozenset(
    {"none", "no", "non", "not", "nil", "without", "wo", "ohne", "kein", "keine", "sans", "sin", "senza", "zonder"}
    | {"geen", "pre", "precontrast", "plain", "native", "nativ", "unenhanced", "nonenhanced", "noncontrast"}
)
ABOUT = frozenset(
    {"contrast", "contraste", "contrasto", "kontrast", "kontrastmittel", "km", "mdc", "dye", "agent", "medium", "media"}
    | {"iv", "ev", "intravenous", "given", "used", "administered", "enhanced", "con", "bolus", "injection", "injected"}
)
"""What may stand beside a word of `NOT_ANY`, which denies it: ``no IV contrast``, ``not given``."""

NOTHING = re.compile(r"[-_./\s]*|n|na|n/a|0+([.,]0+)?\s*(ml|cc)?|false", re.IGNORECASE)
"""Whole values that name none."""

NOT_KNOWN = frozenset({"unknown", "unk", "unspecified"})
SOME_FRAMES = "unspecified: in some frames"
"""What stands as the agent of an image that was given one between its first frame and its last."""

BOWEL = frozenset({"oral", "orally", "po", "peroral", "rectal", "rectally", "enema", "enteral"})
"""An agent that was given so shows in no vessel or organ."""

VESSELS = frozenset({"iv", "ev", "intravenous", "ia", "intraarterial"})


def agent_of(text: str) -> Agent:
    """Whether a value of ContrastBolusAgent names an agent: every word does that is not known to say otherwise.

    ``unclear`` is a word for none beside others (``no oral contrast``), an agent in the bowel alone, and ``?``.
    """
    if NOTHING.fullmatch(text.strip()):
        return "without"
    plain = re.sub(r"\bnon[\s-]ionic", "nonionic", text.casefold()).replace("w/o", "wo").replace(".", "")
    words = set(re.findall(r"\w+", plain))
    if not words or words & NOT_KNOWN:
        return "unclear"
    if words & NOT_ANY:
        return "without" if words <= NOT_ANY | ABOUT else "unclear"
    return "unclear" if words & BOWEL and not words & VESSELS else "with"
