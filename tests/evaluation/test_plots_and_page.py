import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from matplotlib.image import imread
from phantoms.evaluations import FINDINGS, LESION, cohort

from pipeline.domain.case import Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.score import OperatingPoint, Report
from pipeline.evaluation.html import render
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.plots import GRID, precision_recall_points, roc_band, roc_points, save_plots
from pipeline.evaluation.report import evaluate, make_bootstrap
from pipeline.evaluation.samples import Answers, answers_of
from pipeline.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=200, prevalence=0.1)
POINTS = (OperatingPoint(finding="lesion", threshold=0.4, rule="sensitivity>=0.9"),)


def evaluated(findings: tuple[Finding, ...], count: int = 80) -> tuple[Report, tuple[Answers, ...]]:
    cases, logits = cohort(findings, count=count)
    points = tuple(point for point in POINTS if point.finding in {f.name for f in findings})
    report = evaluate(
        findings, cases, logits, (), points, SETTINGS, model="m" * 64, manifest="a" * 64, split=Split.TEST, rejected=1
    )
    answers = answers_of(findings, cases, logits, (), points, make_bootstrap(cases, SETTINGS).patients)
    return report, answers


def bootstrap_of(count: int = 80) -> Bootstrap:
    return make_bootstrap(cohort((LESION,), count=count)[0], SETTINGS)


def test_curves_are_scikit_learns() -> None:
    _, (answers,) = evaluated((LESION,))
    whole = answers.whole()
    assert whole is not None
    false, true, _ = sk.roc_curve(whole.truth, whole.score, drop_intermediate=False)
    assert np.array(roc_points(whole)) == pytest.approx(np.array([false, true]))
    precision, recall, _ = sk.precision_recall_curve(whole.truth, whole.score)
    ours = np.array(precision_recall_points(whole))
    assert ours == pytest.approx(np.array([recall[:-1][::-1], precision[:-1][::-1]])[:, : ours.shape[1]])
    band = roc_band(whole, bootstrap_of())
    assert band is not None
    low, high = band
    curve = np.interp(GRID, false, true)
    assert ((low - 1e-9 <= curve) & (curve <= high + 1e-9)).mean() > 0.9


def test_every_finding_gets_its_plots(tmp_path: Path) -> None:
    report, answers = evaluated(FINDINGS)
    for entry, finding in zip(answers, report.findings, strict=True):
        save_plots(tmp_path, entry, finding, bootstrap_of())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{kind}_{f.name}.png" for kind in ("roc", "precision_recall", "calibration") for f in FINDINGS}
    for path in tmp_path.iterdir():
        image = imread(path)
        assert image.shape[0] > 400 and image[..., :3].std() > 0.02


def test_equal_curves_give_equal_bytes(tmp_path: Path) -> None:
    report, (answers,) = evaluated((LESION,))
    for name in ("one", "two"):
        save_plots(tmp_path / name, answers, report.findings[0], bootstrap_of())
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_curve_that_is_not_defined_is_left_out(tmp_path: Path) -> None:
    cases, logits = cohort((LESION,), count=30)
    cases = tuple(case.model_copy(update={"labels": {"lesion": "no"}}) for case in cases)
    report = evaluate((LESION,), cases, logits, (), (), SETTINGS, model="m", manifest="a", split=Split.TEST)
    bootstrap = make_bootstrap(cases, SETTINGS)
    (answers,) = answers_of((LESION,), cases, logits, (), (), bootstrap.patients)
    assert [p.name for p in save_plots(tmp_path, answers, report.findings[0], bootstrap)] == ["calibration_lesion.png"]


def test_class_names_are_never_read_as_formulas(tmp_path: Path) -> None:
    odd = Finding(name="odd", kind=FindingKind.MULTICLASS, classes=("$x", "<b>&</b>", "_y$^{"))
    report, (answers,) = evaluated((odd,))
    plots = save_plots(tmp_path, answers, report.findings[0], bootstrap_of())
    page = render(report, {"odd": plots}, {})
    assert "<b>&</b>" not in page
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in page


class Checker(HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    report, answers = evaluated(FINDINGS)
    plots = {
        finding.finding: save_plots(tmp_path, entry, finding, bootstrap_of())
        for entry, finding in zip(answers, report.findings, strict=True)
    }
    page = render(report, plots, {"Model card": "lesion detector <script>alert(1)</script>"})
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.sources) == 12
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert "script" not in checker.tags
    lesion = report.findings[0]
    auroc = next(score for score in lesion.scores if score.metric == "auroc")
    assert f"{auroc.value:.3f}" in page and f"{auroc.low:.3f} to {auroc.high:.3f}" in page
    assert "m" * 64 in page and "a" * 64 in page
    assert "1 of 81 cases could not be read" in page
    assert page.index("Read this first") < page.index("<h2>")
    assert "sensitivity&gt;=0.9" in page
    assert "PPV at stated prevalence" in page
    assert not re.search(r"\b(nan|None)\b", re.sub(r"base64,[^\"]*", "", page))
