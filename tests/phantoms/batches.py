"""The content of result pages: drawn chests with a nodule, where a made-up model says how sure it is."""

import hashlib
import io
import math
from collections.abc import Sequence

import numpy as np
from phantoms.packages import FINDINGS, make_card
from PIL import Image

from pipeline.domain.codes import EXPLANATIONS, Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.manifest import Counts
from pipeline.domain.prediction import FindingPrediction, Prediction, ScopeVerdict
from pipeline.writers.page_content import CaseOnPage, PageContent, RefusalOnPage
from pipeline.writers.strips import Strips

NODULE = Finding(name="nodule", kind=FindingKind.BINARY, classes=("absent", "present"), positive="present")
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "small", "large"))
THRESHOLD = 0.42


def name(letter: str, number: int) -> str:
    return letter + hashlib.sha256(f"{letter}{number}".encode()).hexdigest()[:16]


def png(pixels: np.ndarray) -> bytes:
    """Grey (rows, columns) or colour (rows, columns, 3 or 4)."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def chest(size: int, frames: int, *, seed: int, nodule: float, noise: float = 5) -> Strips:
    """Film of a drawn chest; `nodule` is the radius of a bright ball in a lung, in pixels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    side = random.choice([-1, 1])
    spot = np.array([side * random.uniform(0.32, 0.42), random.uniform(-0.2, 0.25), frames * random.uniform(0.4, 0.6)])
    wide, tall = random.uniform(0.86, 0.94), random.uniform(0.6, 0.7)
    slices, heat = [], []
    for k in range(frames):
        level = math.sin(math.pi * (k + 0.8) / (frames + 0.6))
        image = np.where((x / wide) ** 2 + (y / tall) ** 2 < 1, 118.0, 6.0)
        image[(x / (wide - 0.07)) ** 2 + (y / (tall - 0.07)) ** 2 < 1] = 148
        for lung in (-1, 1):
            radius = ((x - lung * 0.4) / (0.31 * level)) ** 2 + ((y + 0.02) / (0.48 * level)) ** 2
            vessels = 30 * np.maximum(0, np.sin(9 * x + seed + k / 3) * np.sin(11 * y + k / 2 + lung)) ** 4
            image = np.where(radius < 1, 36 + vessels, image)
            for rib in np.linspace(-0.5, 0.5, 5):
                at = (lung * (wide - 0.1) * math.cos(rib * 2.1), (tall - 0.1) * math.sin(rib * 2.1))
                image[(x - at[0]) ** 2 + ((y - at[1]) * 1.3) ** 2 < 0.05**2] = 225
        image[((x - 0.08) / 0.2) ** 2 + ((y + 0.06) / 0.24) ** 2 < level] = 172
        image[(x / 0.11) ** 2 + ((y - tall + 0.17) / 0.13) ** 2 < 1] = 228
        image[x**2 + ((y - tall + 0.15) / 0.9) ** 2 < 0.04**2] = 110
        distance = np.hypot(np.hypot(x - spot[0], y - spot[1]), (k - spot[2]) * 2 / max(frames, 8) * 1.2) * size / 2
        image = np.where(distance < nodule, 205, image)
        heat.append(np.exp(-((distance / max(1.7 * nodule, 4)) ** 2) / 2))
        slices.append(image + random.normal(0, noise, image.shape))
    grey = np.clip(np.concatenate(slices, axis=1), 0, 255).astype(np.uint8)
    return Strips(frames, size, size, png(grey), {"nodule": png(coloured(np.concatenate(heat, axis=1)))})


def coloured(heat: np.ndarray) -> np.ndarray:
    """Heat of 0 to 1 as RGBA, from clear over red to yellow."""
    red, green = np.minimum(1, 2.2 * heat), np.clip(1.6 * heat - 0.55, 0, 1)
    return (255 * np.stack([red, green, 0.1 * heat, np.clip(1.2 * heat - 0.1, 0, 0.9)], axis=-1)).astype(np.uint8)


def answers(findings: Sequence[Finding], chance: float, random: np.random.Generator) -> tuple[FindingPrediction, ...]:
    """Of every kind, all rising with `chance`."""
    found = []
    for finding in findings:
        classes = finding.classes
        if finding.kind is FindingKind.BINARY:
            said = {classes[0]: 1 - chance, classes[1]: chance}
            decision, threshold = classes[int(chance >= THRESHOLD)], THRESHOLD
        elif finding.kind is FindingKind.MULTILABEL:
            said = {label: float(random.uniform(0, chance)) for label in classes}
            decision, threshold = "|".join(label for label in classes if said[label] >= 0.5), None
        else:
            peak = chance * (len(classes) - 1)
            raw = np.exp(-2.5 * (np.arange(len(classes)) - peak) ** 2) + 0.01
            said = dict(zip(classes, map(float, raw / raw.sum()), strict=True))
            decision, threshold = max(said, key=said.__getitem__), None
        found.append(
            FindingPrediction(finding=finding.name, probabilities=said, decision=decision, threshold=threshold)
        )
    return tuple(found)


def make_prediction(number: int, asked: Sequence[Finding] = FINDINGS, **changes: object) -> Prediction:
    random = np.random.default_rng(number)
    chance = float(random.beta(0.9, 4) if number % 3 else random.beta(5, 1.6))
    prediction = Prediction(
        case=name("C", number),
        patient=name("P", number // 2),
        study=name("T", number),
        series=name("S", number),
        digest=hashlib.sha256(f"pixels {number}".encode()).hexdigest(),
        model=hashlib.sha256(b"model").hexdigest(),
        findings=answers(asked, chance, random),
        scope=ScopeVerdict.IN_SCOPE,
        notes=()
        if number % 5
        else ("MONOCHROME1 was turned over", "resampled from 0.7 x 0.7 x 1.25 mm")[: 1 + number % 2],
    )
    return prediction.model_copy(update=changes)


def withheld(number: int, *reasons: str) -> Prediction:
    return make_prediction(number, findings=(), scope=ScopeVerdict.OUT_OF_SCOPE, scope_reasons=reasons)


def doubted(number: int, *reasons: str) -> Prediction:
    """Out of scope, and answered all the same: ``scope.out_of_scope=report``."""
    return make_prediction(number, scope=ScopeVerdict.OUT_OF_SCOPE, scope_reasons=reasons)


def refused(code: Code, message: str, files: int, series: int = 0) -> RefusalOnPage:
    pseudonym = name("S", series) if series else ""
    return RefusalOnPage(code, "read" if series else "discover", message, EXPLANATIONS[code].remedy, pseudonym, files)


REFUSALS = (
    refused(Code.GAP, "one slice is missing after slice 31 of 64", 64, 901),
    refused(Code.TRUNCATED, "the pixel data has 131072 bytes instead of 524288", 48, 902),
    refused(Code.TILT, "the slices are stacked at 12.00 degrees to their normal", 40, 903),
    refused(Code.GAP, "one slice is missing after slice 7 of 30", 30, 904),
    refused(Code.BAD_HEADER, "its name says DICOM, its content does not", 1),
)


def make_page(cases: Sequence[CaseOnPage], findings: Sequence[Finding] = FINDINGS, **changes: object) -> PageContent:
    rejected = sum(one.files for one in REFUSALS)
    values: dict[str, object] = {
        "card": make_card(findings),
        "model": hashlib.sha256(b"model").hexdigest(),
        "findings": findings,
        "counts": Counts(
            inputs=40 * len(cases) + 7 + rejected, used=40 * len(cases), skipped=7, rejected=rejected, cases=len(cases)
        ),
        "codes": {"DUPLICATE": 3, "LOCALIZER": 4, "GAP": 94, "TRUNCATED": 48, "TILT": 40, "BAD_HEADER": 1},
        "engine": {"kind": "torch", "threads": None},
        "versions": {"resdx": "0.1.0", "torch": "2.13.0"},
        "started": "2026-01-02T03:04:05+00:00",
        "cases": tuple(cases),
        "refusals": REFUSALS,
    }
    return PageContent(**values | changes)  # type: ignore[arg-type]
