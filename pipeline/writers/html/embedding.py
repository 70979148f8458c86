"""Data inside the page: JSON that no text in it can end or run, and pictures in base64."""

import base64
import json
from collections.abc import Mapping, Sequence

from pipeline.domain.finding import Finding
from pipeline.domain.prediction import FindingPrediction, Prediction, ScopeVerdict
from pipeline.writers.page_content import CaseOnPage
from pipeline.writers.predictions import columns
from pipeline.writers.strips import Strips

INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""What HTML could take for markup is written as JSON's own escape, which gives the same text back."""


def inert_json(value: object) -> str:
    """JSON for a ``<script type="application/json">``: ASCII alone, so U+2028 is an escape too; no ``<``, ``>``, ``&``.

    The HTML standard, 4.12.1.3, says how the content of a script could end otherwise.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(INERT)


def table(findings: Sequence[Finding], cases: Sequence[CaseOnPage]) -> dict[str, object]:
    """All that the table needs, without pictures."""
    return {
        "columns": columns(findings),
        "findings": [_finding(finding) for finding in findings],
        "cases": [_case(one, findings) for one in cases],
    }


def pictures(one: CaseOnPage) -> dict[str, object] | None:
    """Film strips of one case in base64, or None where it has none."""
    if one.strips is None:
        return None
    overlays = {name: _base64(png) for name, png in shown_overlays(one).items()}
    return {"slices": _base64(one.strips.slices), "overlays": overlays}


def shown_overlays(one: CaseOnPage) -> Mapping[str, bytes]:
    """Overlays by finding; none where the answers that they would explain are withheld."""
    if one.strips is None or is_withheld(one.prediction):
        return {}
    return dict(one.strips.overlays)


def is_withheld(prediction: Prediction) -> bool:
    """Tell whether the scan is out of scope and nothing that the network said of it was released."""
    return prediction.scope is ScopeVerdict.OUT_OF_SCOPE and not prediction.findings


def is_doubted(prediction: Prediction) -> bool:
    """Tell whether the scan is out of scope and what the network said of it was released all the same."""
    return prediction.scope is ScopeVerdict.OUT_OF_SCOPE and bool(prediction.findings)


def shown_answers(prediction: Prediction) -> dict[str, FindingPrediction]:
    """Map each finding to its answer."""
    return {answer.finding: answer for answer in prediction.findings}


def _finding(finding: Finding) -> dict[str, object]:
    return {"name": finding.name, "kind": finding.kind.value, "classes": finding.classes, "positive": finding.positive}


def _case(one: CaseOnPage, findings: Sequence[Finding]) -> dict[str, object]:
    said = one.prediction
    answers = shown_answers(said)
    return {
        "case": said.case,
        "patient": said.patient,
        "study": said.study,
        "series": said.series,
        "digest": said.digest,
        "model": said.model,
        "scope": said.scope.value,
        "reasons": said.scope_reasons,
        "notes": said.notes,
        "answers": [_answer(finding, answers.get(finding.name)) for finding in findings],
        "film": None if one.strips is None else _film(one.strips, shown_overlays(one)),
    }


def _answer(finding: Finding, answer: FindingPrediction | None) -> dict[str, object] | None:
    if answer is None:
        return None
    chances = [answer.probabilities[label] for label in finding.classes]
    return {"p": chances, "decision": answer.decision, "threshold": answer.threshold}


def _film(strips: Strips, overlays: Mapping[str, bytes]) -> dict[str, object]:
    size = {"frames": strips.frames, "width": strips.width, "height": strips.height}
    return {**size, "overlays": list(overlays)}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
