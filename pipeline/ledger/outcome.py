"""What became of one case, as the ledger keeps it."""

from typing import Self

from pydantic import model_validator

from pipeline.domain.codes import Code
from pipeline.domain.frozen import Frozen
from pipeline.domain.prediction import Prediction


class CaseRefusal(Frozen):
    """Why a case has no prediction.

    Attributes
    ----------
    sha256 : str
        Of the guilty file; empty where no single one is.
    """

    code: Code
    stage: str
    message: str
    remedy: str = ""
    sha256: str = ""


class CaseOutcome(Frozen):
    """What became of one case: a prediction or a refusal."""

    prediction: Prediction | None = None
    refusal: CaseRefusal | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prediction is None) == (self.refusal is None):
            raise ValueError("an outcome is a prediction or a refusal")
        return self
