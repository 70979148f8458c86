"""What stands in the file of a result page: data that cannot run, nothing that is withheld, no path, no identifier."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from phantoms.batches import NODULE, chest, doubted, make_page, make_prediction, withheld
from phantoms.packages import FINDINGS

from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction
from pipeline.domain.rejection import Rejection
from pipeline.writers.html.embedding import inert_json
from pipeline.writers.html.page import STYLE, ResultPage, marked
from pipeline.writers.html.summaries import summarise
from pipeline.writers.page_content import CaseOnPage, PageContent, refusals_on_page

NASTY = "<!--<script </script </style </script><script>alert(1)</script><!-- \u2028\u2029 & 'quoted' \"twice\" ]]>"


class Elements(HTMLParser):
    """Attributes and text of each element of some kinds."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "style", "meta", "link", "img", "iframe", "a"}:
            self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, attrs, before = self.found[-1]
            self.found[-1] = tag, attrs, before + data


def written(tmp_path: Path, page: PageContent) -> str:
    path = tmp_path / "page.html"
    ResultPage().write(path, page)
    return path.read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, list[dict[str, object]]]:
    found = [content for tag, attrs, content in Elements(text).found if tag == "script" and attrs.get("id") == "data"]
    value: dict[str, list[dict[str, object]]] = json.loads(found[0])
    return value


def test_json_in_a_page_is_ascii_without_markup_and_gives_the_same_back() -> None:
    value = {NASTY: [NASTY, 0.1, None, "größer"]}
    text = inert_json(value)
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        inert_json(float("nan"))


def test_only_the_style_sheet_and_the_script_of_the_page_may_run_and_nothing_comes_from_elsewhere(
    tmp_path: Path,
) -> None:
    text = written(tmp_path, make_page([CaseOnPage(make_prediction(1), chest(16, 2, seed=1, nodule=3))]))
    found = Elements(text).found
    policy = next(attrs["content"] for tag, attrs, _ in found if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    run = [content for tag, attrs, content in found if tag == "script" and "type" not in attrs]
    styles = [content for tag, _, content in found if tag == "style"]
    assert len(run) == len(styles) == 1
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (*run, *styles)]
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "script-src": f"'sha256-{digests[0]}'",
        "style-src": f"'sha256-{digests[1]}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert {attrs.get("type") for tag, attrs, _ in found if tag == "script"} == {None, "application/json"}
    assert not [attrs for tag, attrs, _ in found if tag in {"link", "img", "iframe"} or "src" in attrs]
    assert not re.search(r"https?://|//cdn|@import|url\(", text)


def test_what_a_withheld_answer_would_rest_on_is_not_in_the_file(tmp_path: Path) -> None:
    case = withheld(1, "unlike in spacing")
    strips = chest(16, 2, seed=1, nodule=3)
    text = written(tmp_path, make_page([CaseOnPage(case, strips)], superseded=(case,)))
    (one,) = data_of(text)["cases"]
    assert one["answers"] == [None] * 4
    assert one["film"] == {"frames": 2, "width": 16, "height": 16, "overlays": []}
    assert base64.b64encode(strips.overlays["nodule"]).decode() not in text
    assert base64.b64encode(strips.slices).decode() in text


def test_what_is_answered_though_out_of_scope_is_counted_as_such() -> None:
    predictions = [make_prediction(1), doubted(2, "too thick"), withheld(3, "too thick")]
    for finding in FINDINGS:
        summary = summarise(finding, predictions)
        assert (summary.answered, summary.doubted, summary.withheld) == (2, 1, 1)


def test_probabilities_stand_in_the_order_of_the_classes_in_full_precision(tmp_path: Path) -> None:
    swapped = FindingPrediction(finding="nodule", probabilities={"present": 1 / 3, "absent": 2 / 3}, decision="absent")
    text = written(tmp_path, make_page([CaseOnPage(make_prediction(1, findings=(swapped,)))], (NODULE,)))
    assert data_of(text)["cases"][0]["answers"] == [{"p": [2 / 3, 1 / 3], "decision": "absent", "threshold": None}]


def test_a_page_without_cases_or_findings_is_still_a_page(tmp_path: Path) -> None:
    text = written(tmp_path, make_page([], (), refusals=(), codes={}))
    assert "Predictions of 0 cases" in text and "No file was rejected." in text
    assert data_of(text)["cases"] == []


def test_the_summary_counts_decisions_and_sorts_the_shown_probability_into_bins() -> None:
    signs = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "mass"))
    said = [
        ("present", 1.0, "edema|mass", (0.9, 0.6)),
        ("present", 0.42, "edema", (0.5, 0.1)),
        ("absent", 0.05, "", (0.0, 0.04)),
    ]
    predictions = [
        make_prediction(
            number,
            findings=(
                FindingPrediction(
                    finding="nodule",
                    probabilities={"absent": 1 - chance, "present": chance},
                    decision=decision,
                    threshold=0.42,
                ),
                FindingPrediction(
                    finding="signs", probabilities=dict(zip(signs.classes, chances, strict=True)), decision=labels
                ),
            ),
        )
        for number, (decision, chance, labels, chances) in enumerate(said)
    ]
    predictions.append(withheld(9, "too thick"))
    nodule = summarise(NODULE, predictions)
    assert [(one.label, one.cases) for one in nodule.decided] == [("absent", 1), ("present", 2)]
    assert [at for at, bar in enumerate(nodule.bars) if bar.cases] == [1, 8, 19]
    assert (nodule.thresholds, nodule.answered, nodule.withheld) == ((0.42,), 3, 1)
    several = summarise(signs, predictions)
    assert [(one.label, one.cases) for one in several.decided] == [("edema", 2), ("mass", 1), ("none", 1)]
    assert [at for at, bar in enumerate(several.bars) if bar.cases] == [0, 10, 18]


MESSAGE = "IM0001.dcm in DICOM/Jane Doe: no DICOM data, IM0001.dcmx"


def incomplete(path: str, series: str, message: str) -> Rejection:
    return Rejection(path=path, series=series, code=Code.INCOMPLETE, stage="read", message=message)


def test_refusals_lose_paths_and_identifiers_and_no_file() -> None:
    path = "/data/DICOM/Jane Doe/1.2.840.113619.2.55.3/IM0001.dcm"
    whole = [Rejection(path=path, series="S1", code=Code.GAP, stage="read", message=f"{path}: one slice is missing")]
    whole += [incomplete(f"{path}{n}", "S1", "its series is refused: GAP") for n in range(3)]
    damaged = Rejection(path=path, code=Code.CORRUPT, stage="discover", message=MESSAGE)
    asking = damaged.model_copy(update={"remedy": "ask Jane Doe"})
    rejections = [*whole, asking, incomplete(path, "S2", "torch 2.13.0 and 1.2.840.10008.1.2")]
    rows = refusals_on_page(rejections)
    assert [(one.code, one.series, one.files) for one in rows] == [
        (Code.GAP, "S1", 4),
        (Code.CORRUPT, "", 1),
        (Code.INCOMPLETE, "S2", 1),
    ]
    assert [one.message for one in rows] == [
        "(left out): one slice is missing",
        "(left out) in (left out): no DICOM data, IM0001.dcmx",
        "torch 2.13.0 and (left out)",
    ]
    assert rows[1].remedy == "ask (left out)"
    assert rows[0].remedy.startswith("Export the series again")


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` or ``#rgb`` (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", blocks[scheme]))
    for text in ("ink", "soft", "accent", "alarm"):
        for ground in ("paper", "raised", "picked"):
            one, other = sorted([luminance(colours[text]), luminance(colours[ground])])
            assert (other + 0.05) / (one + 0.05) >= 4.5, (text, ground)


def test_backticks_become_code_and_nothing_else_becomes_markup() -> None:
    assert marked("set `read.<b>` & go") == "set <code>read.&lt;b&gt;</code> &amp; go"
