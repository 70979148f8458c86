"""What the Basic Profile does to an attribute (PS3.15 Table E.1-1), and what may stay of those that it does not list.

The table is that of the library ``dicom-anonymizer``, which follows the standard. Its own walk is not used: it leaves
nested data sets alone and draws UIDs at random. Where the table offers a choice by the type of an attribute, the
action is taken that keeps every object valid: emptied before removed, a dummy before emptied.

The profile lets stand what it does not list. Here such an attribute stays only in a form that names nobody: numbers,
code strings, registered UIDs, and a few texts about the scanner. That is stricter than the profile, and is meant so.
"""

import re
from enum import Enum
from typing import Final

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.tag import BaseTag

from pipeline.domain.terms import LONG_NUMBER, known_view, plain_make

EDITION: Final = "2026c"
"""Edition of the standard whose table is used."""


class Action(Enum):
    """What happens to an element (PS3.15 Table E.1-1a)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    INTO = "into"
    """A sequence whose items are treated one by one."""
    KEEP = "K"


CATEGORIES = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "X_Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.DUMMY,
    "Z_D_TAGS": Action.DUMMY,
    "X_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    "U_TAGS": Action.UID,
    "X_Z_U_STAR_TAGS": Action.INTO,
}


def _listed() -> dict[int, Action]:
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    return {
        tag[0] << 16 | tag[1]: action
        for category, action in CATEGORIES.items()
        for tag in table[category]
        if len(tag) == 2  # curves and overlays are removed as whole groups
    }


LISTED = _listed()
"""Every attribute of the table that has one tag."""


def _tags(*keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)


TECHNICAL_TEXTS = _tags(
    *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "RescaleType", "StackID", "PulseSequenceName"),
    *("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "ImagedNucleus", "FilterType"),
)
"""Texts that say how an image was made; they stay in a form that names nobody, else they are emptied."""

DECIMAL = re.compile(r"[0-9eE+\-. ]*")
CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
BINARY_NUMBERS = frozenset({"FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "AT"})
WORDS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})
PIXEL_GROUPS = frozenset({0x0028, 0x7FE0})
"""Groups whose bulk data belongs to the pixels: lookup tables, colour profiles, the pixels themselves."""

SCHEMES = frozenset({"DCM", "SCT", "SRT", "SNM3", "99SDM", "LN", "UCUM", "RADLEX", "FMA", "NCIt", "IBSI"})
"""Coding schemes that are the same everywhere (PS3.16 Table 8-1); a hospital's own code may say anything."""

CURVES_AND_OVERLAYS = frozenset({0x50, 0x60})
"""High byte of the repeating groups (PS3.5 7.6): drawings and their labels."""


def action_of(tag: BaseTag, vr: str, texts: list[str], *, nested: bool) -> Action:
    """Say what happens to an element that is there.

    Parameters
    ----------
    vr : str
        Value representation in the file; that of the dictionary (also ``US or SS``) where the file has none.
    texts : list of str
        Values of an element of text; empty for the others.
    nested : bool
        Whether it stands in an item of a sequence.
    """
    group = tag.group
    if tag.is_private or not dictionary_has_tag(tag) or group >> 8 in CURVES_AND_OVERLAYS:
        return Action.REMOVE
    known, present = set(dictionary_VR(tag).split(" or ")), set(vr.split(" or "))
    if listed := LISTED.get(int(tag)):
        return Action.EMPTY if listed is Action.DUMMY and known & {"SQ", *WORDS} else listed
    if "UI" in known:
        return Action.UID
    if "SQ" in known:
        return Action.INTO if vr == "SQ" else Action.REMOVE
    if known & WORDS and present <= WORDS | BINARY_NUMBERS:
        return Action.KEEP if group in PIXEL_GROUPS and not (nested and group == 0x7FE0) else Action.REMOVE
    if known & BINARY_NUMBERS:
        return Action.KEEP if present <= BINARY_NUMBERS else Action.REMOVE
    return _by_form(tag, known, texts)


def _by_form(tag: BaseTag, known: set[str], texts: list[str]) -> Action:
    if known & {"DS", "IS"}:
        return Action.KEEP if all(DECIMAL.fullmatch(one) for one in texts) else Action.EMPTY
    if "CS" in known:
        is_code = all(CODE_STRING.fullmatch(one) and not LONG_NUMBER.search(one) for one in texts)
        return Action.KEEP if is_code else Action.EMPTY
    if int(tag) in TECHNICAL_TEXTS:
        return Action.KEEP if all(known_view(one) or plain_make(one) for one in texts) else Action.EMPTY
    return Action.REMOVE
