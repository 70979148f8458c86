"""HTML: a batch of predictions as one page that opens from a disk without a network, for who looks at the cases."""

from typing import Literal

from pipeline.config import Part
from pipeline.writers.page_content import PageWriter


class Config(Part):
    """The page has no settings."""

    kind: Literal["html"] = "html"

    def build(self) -> PageWriter:
        """Make the writer."""
        from pipeline.writers.html.page import ResultPage

        return ResultPage()
