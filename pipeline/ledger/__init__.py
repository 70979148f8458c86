"""The ledger of a folder: what became of each case, kept case by case, so that a run that is killed goes on."""

from pipeline.ledger.ledger import Ledger, open_ledger
from pipeline.ledger.outcome import CaseOutcome, CaseRefusal

__all__ = ["CaseOutcome", "CaseRefusal", "Ledger", "open_ledger"]
