"""All cases of an experiment, and the promise that no patient stands in two splits."""

from collections import defaultdict
from typing import Self

from pydantic import Field, model_validator

from pipeline.domain.case import Case, Split
from pipeline.domain.finding import Finding, check_columns
from pipeline.domain.frozen import Frozen, digest
from pipeline.domain.selection import Selection

SCHEMA_VERSION = 1


class Counts(Frozen):
    """The conservation law: ``inputs = used + skipped + rejected``, in files."""

    inputs: int
    used: int
    skipped: int
    rejected: int
    cases: int

    @model_validator(mode="after")
    def _conserve(self) -> Self:
        if self.inputs != self.used + self.skipped + self.rejected:
            raise ValueError(
                f"files are lost: {self.inputs} in, {self.used} used + {self.skipped} skipped + "
                f"{self.rejected} rejected"
            )
        return self


class Manifest(Frozen):
    """Cases with their findings.

    Attributes
    ----------
    acknowledged_leaks : int
        Number of patients, images or near copies found in two splits that the configuration acknowledged (a public
        benchmark's official split); every report carries it.
    select : Selection or None
        The rules by which its series were chosen; plan and model carry them on to prediction.
    """

    schema_version: int = SCHEMA_VERSION
    findings: tuple[Finding, ...] = ()
    cases: tuple[Case, ...] = Field(min_length=1)
    acknowledged_leaks: int = 0
    select: Selection | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_columns(self.findings)
        seen: set[str] = set()
        for case in self.cases:
            if case.case in seen:
                raise ValueError(f"case {case.case} stands twice")
            seen.add(case.case)
            for finding in self.findings:
                if finding.name in case.labels:
                    case.encoded_label(finding)
        if not self.acknowledged_leaks and (leaks := self.patients_in_two_splits()):
            raise ValueError(f"patients in more than one split: {', '.join(leaks)}")
        return self

    def patients_in_two_splits(self) -> tuple[str, ...]:
        """Pseudonyms of patients that stand in more than one split."""
        splits: dict[str, set[Split | None]] = defaultdict(set)
        for case in self.cases:
            splits[case.patient].add(case.split)
        return tuple(sorted(patient for patient, found in splits.items() if len(found) > 1))

    def of(self, split: Split) -> tuple[Case, ...]:
        """Cases of one split, in manifest order."""
        return tuple(case for case in self.cases if case.split is split)

    @property
    def digest(self) -> str:
        """Digest of the whole manifest but for likenesses, by which only its audit is helped."""
        left_out = {"cases": {"__all__": {"series": {"__all__": {"likeness"}}}}}
        return digest(self.model_dump(mode="json", exclude=left_out))
