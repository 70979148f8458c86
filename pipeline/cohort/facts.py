"""What the report of an ingest says beside the manifest: the same facts for the page and for machines."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from pipeline.cohort.accounting import Account, files_by_code
from pipeline.cohort.characteristics import Characteristics, characteristics
from pipeline.cohort.flow import Flow, flow
from pipeline.cohort.outliers import RULE, Levels, Outlier, outliers
from pipeline.cohort.tally import by_class, by_shape, patients, splits_of
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Shortcut

SHAPE = ("modality", "plane", "spacing", "slices", "series")
"""Names of what :func:`pipeline.cohort.tally.by_shape` counts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures of one cohort.

    Attributes
    ----------
    shortcuts : tuple of Shortcut
        See :mod:`pipeline.evaluation.shortcuts`; none in an inventory.
    """

    flow: Flow
    characteristics: Characteristics
    outliers: tuple[Outlier, ...]
    shortcuts: tuple[Shortcut, ...]

    @classmethod
    def of(
        cls, manifest: Manifest, account: Account, levels: Mapping[str, Levels], shortcuts: Sequence[Shortcut]
    ) -> Self:
        """Gather them."""
        far = tuple(outliers(manifest, levels))
        return cls(flow(manifest, account), characteristics(manifest), far, tuple(shortcuts))


def facts_text(manifest: Manifest, account: Account, facts: Facts, warnings: Sequence[str]) -> str:
    """JSON of what the page shows, without its pictures. No identifiers, no paths."""
    table = facts.characteristics
    content: dict[str, Any] = {
        "manifest": manifest.digest,
        "files": account.counts.model_dump(),
        "files_by_code": files_by_code(account),
        "steps": asdict(account.steps),
        "splits": {
            name: {"cases": len(cases), "patients": patients(cases)} for name, cases in splits_of(manifest).items()
        },
        "labels": {finding.name: by_class(manifest, finding) for finding in manifest.findings},
        "acknowledged_leaks": manifest.acknowledged_leaks,
        "warnings": list(warnings),
        "characteristics": {
            "columns": table.columns,
            "rows": [{"name": row.name, "value": row.value, "cells": row.cells} for row in table.rows],
        },
        "scans": [dict(zip(SHAPE, row, strict=True)) for row in by_shape(manifest)],
        "notes": dict(sorted(Counter(note for case in manifest.cases for note in case.notes).items())),
        "outliers_rule": RULE,
        "outliers": [asdict(one) for one in facts.outliers],
        "shortcuts": [one.model_dump(mode="json") for one in facts.shortcuts],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
