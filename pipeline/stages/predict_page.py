"""The page of a batch, from what its tables say and the pictures that its cases left."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.cohort.accounting import Account
from pipeline.domain.prediction import Prediction
from pipeline.package.package import ModelPackage
from pipeline.stages.predict_output_settings import OutputSettings
from pipeline.stages.predict_outputs import PICTURES
from pipeline.stages.predict_tables import Summary
from pipeline.writers.html import Config as HtmlConfig
from pipeline.writers.page_content import CaseOnPage, PageContent, refusals_on_page
from pipeline.writers.strip_files import load_strips

PAGE = "predictions.html"


def write_page(
    out: Path,
    package: ModelPackage,
    settings: OutputSettings,
    summary: Summary,
    ended: Account,
    predictions: Sequence[Prediction],
    superseded: Sequence[Prediction],
) -> None:
    """Write ``predictions.html`` anew."""
    most = settings.most_pictures if settings.pictures else 0
    cases = [
        CaseOnPage(one, load_strips(out / PICTURES, one.case) if number < most else None)
        for number, one in enumerate(predictions)
    ]
    content = PageContent(
        card=package.card,
        model=package.digest,
        findings=package.findings,
        counts=ended.counts,
        codes=summary.codes,
        engine=summary.engine,
        versions=summary.versions,
        started=summary.started,
        cases=cases,
        refusals=refusals_on_page(ended.rejections),
        superseded=superseded,
    )
    HtmlConfig().build().write(out / PAGE, content)
