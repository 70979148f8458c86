"""One input refused: a row of rejections.csv. May carry a source path; see promise 8 in the README."""

from pipeline.domain.codes import EXPLANATIONS, Code
from pipeline.domain.frozen import Frozen


class Rejection(Frozen):
    """What was refused, why, and what to do."""

    path: str
    sha256: str = ""
    series: str = ""
    code: Code
    stage: str
    message: str
    remedy: str = ""

    @property
    def advice(self) -> str:
        """The remedy, or the one that belongs to the code."""
        return self.remedy or EXPLANATIONS[self.code].remedy
