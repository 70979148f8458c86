"""NAME.html: one page without scripts or outside references; what the cohort holds and what was refused.

It carries counts, pseudonyms and small pictures: no identifiers, no paths, and of the free text of headers only maker
and model of the scanner, where they have the form of such.
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pipeline.cohort.accounting import Account
from pipeline.cohort.facts import Facts
from pipeline.cohort.flow import LINE
from pipeline.cohort.outliers import RULE
from pipeline.cohort.tally import UNSPLIT, by_class, by_shape, patients, splits_of
from pipeline.domain.codes import EXPLANATIONS, SKIPS, Code
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import TELLING

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SHOWN_SHAPES = 20
SHOWN_OUTLIERS = 40


@dataclass(frozen=True, slots=True)
class Reason:
    """Files that were skipped or rejected for one code."""

    code: str
    disposition: str
    files: int
    meaning: str
    remedy: str


def render(
    manifest: Manifest,
    account: Account,
    facts: Facts,
    warnings: Sequence[str],
    version: str,
    previews: Mapping[str, bytes] | None = None,
) -> str:
    """Render the page.

    Parameters
    ----------
    warnings : sequence of str
        What a reviewer should read first. No patient data.
    previews : mapping of str to bytes, optional
        Pseudonym of a case to the JPEG of its middle slice; see :mod:`pipeline.cohort.previews`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        counts=account.counts,
        patients=patients(manifest.cases),
        splits=[(name, len(cases), patients(cases)) for name, cases in splits_of(manifest).items()],
        findings=[(finding, by_class(manifest, finding)) for finding in manifest.findings],
        flow=facts.flow,
        line=LINE,
        characteristics=facts.characteristics,
        outliers=facts.outliers[:SHOWN_OUTLIERS],
        more_outliers=max(0, len(facts.outliers) - SHOWN_OUTLIERS),
        outlier_rule=RULE,
        shortcuts=facts.shortcuts,
        telling=TELLING,
        shapes=by_shape(manifest)[:SHOWN_SHAPES],
        notes=sorted(Counter(note for case in manifest.cases for note in case.notes).items()),
        reasons=reasons(account),
        pictured=frozenset(previews or {}),
        previews=_pictured(manifest, previews or {}),
        warnings=list(warnings),
        leaks=manifest.acknowledged_leaks,
        digest=manifest.digest,
        version=version,
    )


def _pictured(manifest: Manifest, previews: Mapping[str, bytes]) -> dict[str, list[tuple[str, str]]]:
    """Split to the cases that have a preview, each with its data URI, in the order of the previews."""
    found: dict[str, list[tuple[str, str]]] = {}
    of = {case.case: str(case.split or UNSPLIT) for case in manifest.cases}
    for name, image in previews.items():
        uri = f"data:image/jpeg;base64,{base64.b64encode(image).decode('ascii')}"
        found.setdefault(of[name], []).append((name, uri))
    return found


def reasons(account: Account) -> list[Reason]:
    """Every code with its number of files: rejections first, the most frequent first."""
    counts = Counter(row.code for row in account.files if row.code)
    found = [_reason(Code(code), count) for code, count in counts.items()]
    return sorted(found, key=lambda one: (one.disposition, -one.files, one.code))


def _reason(code: Code, count: int) -> Reason:
    disposition = "skipped" if code in SKIPS else "rejected"
    return Reason(code.value, disposition, count, EXPLANATIONS[code].meaning, EXPLANATIONS[code].remedy)
