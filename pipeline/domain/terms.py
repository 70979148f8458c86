"""Words of DICOM headers that may be shown: defined terms of the standard, and forms in which nobody is named.

Whatever else stands in a header may be about the patient, also where the standard expects no such thing.
"""

import re

from pipeline.domain.series import PICTURE, PROJECTION

MODALITIES = (
    PROJECTION
    | PICTURE
    | frozenset({"CT", "MR", "PT", "NM", "OT", "PA", "OCT", "OPT", "OPM", "OPTBSV", "OPTENF", "IVOCT", "IVUS", "BDUS"})
    | frozenset({"AS", "BI", "BMD", "CFM", "CP", "CS", "DF", "DG", "DS", "EC", "FA", "FS", "LP", "LS", "RG"})
    | frozenset({"RTIMAGE", "ST", "TG", "VF"})
)
"""Defined terms of Modality for acquired images, the retired ones too (PS3.3 C.7.3.1.1.1)."""

VIEWS = (
    frozenset({"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO"})
    | frozenset({"ML", "LM", "MLO", "LMO", "CC", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO"})
    | frozenset({"AT", "CV", "RM", "RL", "RI", "RS", "TAN"})
)
"""Defined terms of ViewPosition (PS3.3 C.8.1.2); views of mammography (PS3.16 CID 4014) and their modifiers (4015)."""

BODY_PARTS = (
    frozenset({"ABDOMEN", "ABDOMENPELVIS", "ADRENAL", "ANKLE", "AORTA", "ARM", "AXILLA", "BACK", "BLADDER"})
    | frozenset({"BRAIN", "BREAST", "BRONCHUS", "BUTTOCK", "CALCANEUS", "CALF", "CAROTID", "CEREBELLUM"})
    | frozenset({"CERVIX", "CHEEK", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CIRCLEOFWILLIS", "CLAVICLE"})
    | frozenset({"COCCYX", "COLON", "CORNEA", "CORONARYARTERY", "CSPINE", "CTSPINE", "DUODENUM", "EAR"})
    | frozenset({"ELBOW", "ESOPHAGUS", "EXTREMITY", "EYE", "EYELID", "FACE", "FEMUR", "FINGER", "FOOT"})
    | frozenset({"GALLBLADDER", "HAND", "HEAD", "HEADNECK", "HEART", "HIP", "HUMERUS", "IAC", "ILEUM", "ILIUM"})
    | frozenset({"JAW", "JEJUNUM", "KIDNEY", "KNEE", "LARYNX", "LEG", "LIVER", "LSPINE", "LSSPINE", "LUNG"})
    | frozenset({"MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NECKCHESTABDOMEN"})
    | frozenset({"NECKCHESTABDPELV", "NOSE", "ORBIT", "OVARY", "PANCREAS", "PAROTID", "PATELLA", "PELVIS"})
    | frozenset({"PENIS", "PHARYNX", "PROSTATE", "RADIUS", "RADIUSULNA", "RECTUM", "RIB", "SACRUM", "SCALP"})
    | frozenset({"SCAPULA", "SCLERA", "SCROTUM", "SHOULDER", "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM"})
    | frozenset({"STOMACH", "SUBMANDIBULAR", "THIGH", "THYMUS", "THYROID", "TIBIA", "TIBIAFIBULA", "TLSPINE"})
    | frozenset({"TMJ", "TOE", "TONGUE", "TRACHEA", "TSPINE", "ULNA", "URETER", "URETHRA", "UTERUS", "VAGINA"})
    | frozenset({"VULVA", "WHOLEBODY", "WRIST", "ZYGOMA"})
)
"""Defined terms of Body Part Examined for human beings (PS3.16 Annex L)."""

MEANINGS = {
    "antero-posterior": "AP",
    "postero-anterior": "PA",
    "left lateral": "LL",
    "right lateral": "RL",
    "medio-lateral": "ML",
    "latero-medial": "LM",
    "medio-lateral oblique": "MLO",
    "latero-medial oblique": "LMO",
    "cranio-caudal": "CC",
    "cranio-caudal exaggerated": "XCC",
    "cranio-caudal exaggerated laterally": "XCCL",
    "cranio-caudal exaggerated medially": "XCCM",
    "caudo-cranial (from below)": "FB",
    "superolateral to inferomedial oblique": "SIO",
    "inferomedial to superolateral oblique": "ISO",
    "axillary tail": "AT",
    "cleavage": "CV",
}
"""Meaning of a code of a view (PS3.16 CID 4010, 4014) to its abbreviation."""

MAKE = re.compile(r"[A-Za-z0-9 .\-/&+]{1,40}")
"""What a maker or a model of a scanner is written in."""

LONG_NUMBER = re.compile(r"\d{6}")
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE = re.compile(
    r"\d{4}[ ./-]\d{1,2}[ ./-]\d{1,2}|\d{1,2}[ ./-]\d{1,2}[ ./-](\d{4}|\d{2})(?!\d)"
    rf"|\d{{1,2}}[ ./-]*({MONTHS})[a-z]*[ ./-]*\d{{2}}|({MONTHS})[a-z]*[ ./-]+\d{{1,2}}[ ./-]+\d{{2}}",
    re.IGNORECASE,
)


def known_modality(text: str) -> str:
    """Return a modality that is a defined term of an image, else an empty string."""
    return text if text in MODALITIES else ""


def known_body_part(text: str) -> str:
    """Return a body part that is a defined term of the standard, else an empty string."""
    plain = "".join(character for character in text.upper() if character.isalpha())
    return plain if plain in BODY_PARTS else ""


def known_view(text: str) -> str:
    """Return the abbreviation of a view that the standard knows, else an empty string."""
    plain = " ".join(text.split())
    return plain.upper() if plain.upper() in VIEWS else MEANINGS.get(plain.casefold(), "")


def plain_make(text: str) -> str:
    """Return the maker or model of a scanner in a form that names no patient, else an empty string.

    Letters, digits and ``. - / & +``, at most 40; without a number as long as an identifier, and without a date.
    """
    plain = " ".join(text.split())
    is_safe = MAKE.fullmatch(plain) and not LONG_NUMBER.search(plain) and not DATE.search(plain)
    return plain if is_safe else ""


IN_SUV = "SUV: "
"""How the note of a volume begins whose values are standardized uptake values (g/ml)."""
