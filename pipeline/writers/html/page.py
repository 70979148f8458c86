"""The page itself: a template with its styles and scripts inlined, and the data after them."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from pipeline import atomic
from pipeline.domain.codes import EXPLANATIONS, SKIPS, Code
from pipeline.domain.prediction import Prediction
from pipeline.writers.html.embedding import inert_json, is_doubted, is_withheld, pictures, shown_answers, table
from pipeline.writers.html.summaries import NONE, summarise
from pipeline.writers.page_content import CaseOnPage, PageContent, RefusalOnPage

HERE = Path(__file__).parent
TEMPLATE = HERE / "page.html.jinja"
STYLE = HERE / "page.css"
SCRIPTS = tuple(HERE / name for name in ("table.js", "pictures.js", "details.js", "page.js"))
"""In the order in which they run, as one script."""

CODE = re.compile("`([^`]+)`")
CLOSING = "</body>\n</html>\n"


@dataclass(frozen=True, slots=True)
class Refused:
    """All refusals of one code."""

    code: str
    files: int
    meaning: str
    remedy: str
    rows: tuple[RefusalOnPage, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Files that were skipped for one code."""

    code: str
    files: int
    meaning: str


class ResultPage:
    """Implements :class:`pipeline.writers.page_content.PageWriter`.

    The table is drawn from JSON of the page; pictures stand after it, a script element a case, and are decoded when
    their case is opened. The Content-Security-Policy allows this style sheet and this script by their digests and
    nothing else: no network, no other script, whatever a text of the batch holds.
    """

    suffix = ".html"

    def write(self, path: Path, page: PageContent) -> None:
        """See :meth:`pipeline.writers.page_content.PageWriter.write`."""
        atomic.write_with(path, lambda temporary: _fill(temporary, page))


def _fill(path: Path, page: PageContent) -> None:
    cases = sorted(page.cases, key=lambda one: one.prediction.case)
    names = [one.prediction.case for one in cases]
    assert len(set(names)) == len(names), "two cases of a page have one name"
    with path.open("wb") as file:
        file.write(_render(page, cases).encode("utf-8"))
        _write_pictures(file, cases)
        file.write(CLOSING.encode("ascii"))


def _write_pictures(file: BinaryIO, cases: Sequence[CaseOnPage]) -> None:
    for number, one in enumerate(cases):
        if (film := pictures(one)) is not None:
            file.write(f'<script type="application/json" id="film-{number}">{inert_json(film)}</script>\n'.encode())


def _render(page: PageContent, cases: Sequence[CaseOnPage]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["marked"] = marked
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    style, script = STYLE.read_text(encoding="utf-8"), "".join(one.read_text(encoding="utf-8") for one in SCRIPTS)
    assert "</" not in style + script, "a style sheet or script would end itself"
    predictions = [one.prediction for one in cases]
    return template.render(
        page=page,
        card=page.card,
        counts=page.counts,
        style=Markup(style),
        script=Markup(script),
        style_digest=_digest(style),
        script_digest=_digest(script),
        data=Markup(inert_json(table(page.findings, cases))),
        summaries=[summarise(finding, predictions) for finding in page.findings],
        patients=len({one.patient for one in predictions}),
        withheld=sum(map(is_withheld, predictions)),
        doubted=sum(map(is_doubted, predictions)),
        scopes=sorted({one.scope.value for one in predictions}),
        refused=list(_refused(page.refusals)),
        skipped=list(_skipped(page)),
        superseded=[
            (one, is_withheld(one), is_doubted(one), shown_answers(one)) for one in sorted(page.superseded, key=_place)
        ],
        engine=[(name, _said(value)) for name, value in page.engine.items() if value is not None],
        nothing=NONE,
    )


def marked(text: str) -> Markup:
    """Text with the names that stand in backticks as code; everything in it is escaped first."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def _place(one: Prediction) -> tuple[str, str, str]:
    """Where a superseded answer stands: a case may have several, by their content and model."""
    return one.case, one.digest, one.model


def _digest(text: str) -> str:
    """Source expression of an inline style or script (CSP Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _refused(refusals: Sequence[RefusalOnPage]) -> Iterator[Refused]:
    """Refusals by code, the code with the most files first."""
    by_code: dict[Code, list[RefusalOnPage]] = {}
    for one in refusals:
        by_code.setdefault(one.code, []).append(one)
    totals = {code: sum(one.files for one in rows) for code, rows in by_code.items()}
    for code, rows in sorted(by_code.items(), key=lambda item: (-totals[item[0]], item[0])):
        meaning, remedy = EXPLANATIONS[code]
        ordered = sorted(rows, key=lambda one: (-one.files, one.series, one.message, one.stage, one.remedy))
        yield Refused(code.value, totals[code], meaning, remedy, tuple(ordered))


def _skipped(page: PageContent) -> Iterator[Skipped]:
    for name, files in sorted(page.codes.items(), key=lambda item: (-item[1], item[0])):
        if (code := Code(name)) in SKIPS:
            yield Skipped(name, files, EXPLANATIONS[code].meaning)


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
