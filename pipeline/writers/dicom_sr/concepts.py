"""Codes of the report: those of the standard where it has one, our own scheme where it has none.

The private scheme ``99RESDX`` (PS3.3 8.2: 99 and a name) is identified in every report. Its codes are

==================  ============================================================================================
``F`` and 12 digits   a finding that its model gives no code of a public terminology; the meaning is its name
``C`` and 12 digits   one class of one finding; the meaning is the class
``DECISION``          decision at the frozen operating point; its value is a class, ``NONE`` or ``WITHHELD``
``THRESHOLD``         operating point: the probability of the positive class from which on that class is decided
``SCOPE``             whether the scan is like the training data: ``IN_SCOPE``, ``OUT_OF_SCOPE``, ``NOT_CHECKED``
``SCOPE_REASON``      why it is not, in words
``MODEL_DIGEST``      sha256 of the model
``NAME``              the full wording of a code whose meaning is cut
==================  ============================================================================================

The digits are of a sha256, so that a code means the same in every report.
"""

import hashlib

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from pipeline.domain import finding as domain
from pipeline.domain.finding import Finding
from pipeline.domain.prediction import ScopeVerdict
from pipeline.writers.dicom_objects import fitted

SCHEME = "99RESDX"

PROBABILITY = Code("122157", "DCM", "Probability")
"""Name of each class's probability, with :data:`CLASS` as its modifier and no unit, from 0 to 1.

The standard's codes for the certainty of computer-aided detection do not fit: (111012, DCM, Certainty of Finding) is
how sure a device is of one finding, in percent, not how likely each of several classes is, and (111047, DCM,
Probability of cancer) says of what. This one says no more than what a calibrated probability is.
"""

CLASS = Code("278201002", "SCT", "Classification")
NO_UNITS = Code("1", "UCUM", "no units")

DECISION = Code("DECISION", SCHEME, "Decision at the operating point")
NONE = Code("NONE", SCHEME, "None of the classes")
WITHHELD = Code("WITHHELD", SCHEME, "Withheld: no answer is given")
THRESHOLD = Code("THRESHOLD", SCHEME, "Operating point")
SCOPE = Code("SCOPE", SCHEME, "Likeness to the training data")
SCOPE_REASON = Code("SCOPE_REASON", SCHEME, "Why the scan is unlike the training data")
MODEL_DIGEST = Code("MODEL_DIGEST", SCHEME, "Digest of the model")
NAME = Code("NAME", SCHEME, "Full wording of a code")
COMMENT = Code("121106", "DCM", "Comment")

QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
LIBRARY, LIBRARY_GROUP = Code("111028", "DCM", "Image Library"), Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")

VERDICTS = {
    ScopeVerdict.IN_SCOPE: Code("IN_SCOPE", SCHEME, "The scan is like the training data"),
    ScopeVerdict.OUT_OF_SCOPE: Code("OUT_OF_SCOPE", SCHEME, "The scan is unlike the training data"),
    ScopeVerdict.NOT_CHECKED: Code("NOT_CHECKED", SCHEME, "Likeness to the training data was not checked"),
}

IMAGING = Code("363679005", "SCT", "Imaging procedure")
PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    **dict.fromkeys(("CR", "DX"), Code("43468-8", "LN", "XR unspecified body region")),
    "MG": Code("71651007", "SCT", "Mammography"),
    "US": Code("16310003", "SCT", "Diagnostic ultrasonography"),
}
"""What was done, where the study does not say it in a code (CID 100, CID 10005); else :data:`IMAGING`."""


def scheme_identification() -> CodingSchemeIdentificationItem:
    """Say what ``99RESDX`` is (PS3.3 C.12.1.1.5)."""
    return CodingSchemeIdentificationItem(SCHEME, name="Codes of resdx", responsible_organization="resdx")


def concept(code: domain.CodedConcept) -> CodedConcept:
    """Write a concept of the domain as DICOM does."""
    return CodedConcept(code.value, fitted(code.scheme, 16), fitted(code.meaning))


def finding_concept(finding: Finding) -> CodedConcept:
    """Say what a finding is: its concept, or a code of ours."""
    if finding.concept is not None:
        return concept(finding.concept)
    return CodedConcept(_digits("F", finding.name), SCHEME, fitted(finding.name))


def class_concept(finding: Finding, label: str) -> CodedConcept:
    """One class of a finding."""
    assert label in finding.classes, f"{finding.name} has no such class"
    return CodedConcept(_digits("C", finding.name, label), SCHEME, fitted(label))


def cut_names(finding: Finding) -> dict[str, str]:
    """Code value to full wording, for the codes of a finding whose meaning is not the whole name."""
    mine = {_digits("C", finding.name, label): label for label in finding.classes}
    if finding.concept is None:
        mine[_digits("F", finding.name)] = finding.name
    return {code: name for code, name in mine.items() if fitted(name) != name}


def _digits(kind: str, *names: str) -> str:
    joined = "".join(f"{len(name)}:{name}" for name in names)
    return kind + hashlib.sha256(joined.encode("utf-8")).hexdigest()[:12].upper()
