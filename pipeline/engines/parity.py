"""How well an engine agrees with PyTorch in float32, and by which rule it is judged: what parity.json holds."""

import json
import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.domain.frozen import Frozen, canonical_json, digest
from pipeline.engines.libraries import installed
from pipeline.machine import processor

SCHEMA_VERSION = 1

Precision = Literal["32", "bf16", "int8"]


class Tolerance(NamedTuple):
    """Largest differences of a calibrated probability, over all classes of all findings.

    Attributes
    ----------
    largest : float
        Of any case.
    most : float
        Of 95% of the cases.
    """

    largest: float
    most: float


TOLERANCES: Mapping[str, Tolerance] = {
    "32": Tolerance(1e-4, 1e-4),
    "bf16": Tolerance(1e-2, 1e-2),
    "int8": Tolerance(0.05, 0.02),
}
"""By precision. A plain conversion to int8 was seen to move one patient by 0.48 while the AUROC moved by 0.001: so the
largest difference is judged, not a mean."""

LARGEST_AUROC_CHANGE = 0.002
"""Of any class; it must stay below."""

LARGEST_SCOPE_MOVE = 0.1
"""Of the logarithm of a distance between features: a tenth more or less. An engine whose features lie elsewhere, as
those of int8 may, judges by limits that were not made for it."""


class Processor(Frozen):
    """What arithmetic depends on.

    Attributes
    ----------
    name : str
        As the processor calls itself.
    arithmetic : tuple of str
        Vector and matrix instructions it has; see :data:`pipeline.machine.ARITHMETIC`.
    accelerator : str
        Name of the GPU that PyTorch can use; empty if there is none.
    """

    name: str
    arithmetic: tuple[str, ...] = ()
    accelerator: str = ""

    @classmethod
    def here(cls) -> Self:
        """Describe this machine."""
        import torch

        name, arithmetic = processor()
        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
        return cls(name=name, arithmetic=arithmetic, accelerator=gpu)

    @property
    def text(self) -> str:
        """In one line."""
        return ", ".join(filter(None, (self.name, " ".join(self.arithmetic), self.accelerator)))


class ParityRow(Frozen):
    """One engine, measured on every case of the validation split.

    Attributes
    ----------
    engine : dict
        Settings that make it, but for threads and the place of the export.
    precision : str
    largest, most : float
        Differences of calibrated probabilities to PyTorch in float32: of the worst case, and at the 95th percentile of
        cases; of each case that of its worst class.
    auroc_change : float or None
        Largest change of an AUROC, class against the rest; None where no class has cases of both kinds.
    flipped : int
        Decisions at the frozen operating points that came out otherwise, over all findings.
    scope_changed : int
        Cases whose features came to lie on the other side of the scope's limit.
    scope_moved : float or None
        Largest change of the logarithm of the distance of a case's features from the training cases; None where the
        package compares none.
    not_finite : int
        Cases that it answered with NaN or infinity.
    seconds : float
        Of one case with its flips and members: median over the cases.
    versions : dict of str to str
        Of the libraries that compute it.
    note : str
        What a reader should know, such as how many layers stayed in higher precision.
    failure : str
        Why it could not run at all, or could not be made; empty if it ran.
    """

    engine: dict[str, JsonValue]
    precision: Precision
    largest: float = Field(ge=0)
    most: float = Field(ge=0)
    auroc_change: float | None = None
    flipped: int = Field(default=0, ge=0)
    scope_changed: int = Field(default=0, ge=0)
    scope_moved: float | None = None
    not_finite: int = Field(default=0, ge=0)
    seconds: float = Field(ge=0)
    versions: dict[str, str] = {}
    note: str = ""
    failure: str = ""

    @property
    def title(self) -> str:
        """Short name."""
        device = f" on {self.engine['device']}" if self.engine.get("device") == "cuda" else ""
        return f"{self.engine['kind']} {self.precision}{device}"

    @property
    def problem(self) -> str:
        """Why it does not agree by the rule; empty if it does."""
        tolerance = TOLERANCES[self.precision]
        if self.failure:
            return self.failure
        if self.not_finite:
            return f"{self.not_finite} answers are not finite"
        if self.largest > tolerance.largest:
            return f"a probability moves by {self.largest:.2g}, more than {tolerance.largest:g}"
        if self.most > tolerance.most:
            return f"the probabilities of 5% of the cases move by {self.most:.2g}, more than {tolerance.most:g}"
        if self.auroc_change is not None and self.auroc_change >= LARGEST_AUROC_CHANGE:
            return f"the AUROC moves by {self.auroc_change:.2g}"
        return ""

    @property
    def obstacle(self) -> str:
        """Why `auto` would not take it; empty if it may."""
        if self.flipped and not self.problem:
            return f"{self.flipped} decision{'s' if self.flipped > 1 else ''} at the operating point would flip"
        if self.scope_changed and not self.problem:
            return f"{self.scope_changed} verdict{'s' if self.scope_changed > 1 else ''} on scope would change"
        if self.scope_moved is not None and self.scope_moved > LARGEST_SCOPE_MOVE and not self.problem:
            return f"distances on which the verdict on scope rests move by {math.expm1(self.scope_moved):.0%}"
        return self.problem

    @property
    def other_libraries(self) -> str:
        """What is installed otherwise than when it was measured; empty if nothing."""
        found = installed(self.versions)
        for name, measured in self.versions.items():
            if name not in found:
                return f"{name} is not installed"
            if found[name] != measured:
                return f"it was measured with {name} {measured}, {found[name]} is installed"
        return ""


class ParityReport(Frozen):
    """Every engine of one export against PyTorch in float32.

    Attributes
    ----------
    model : str
        Digest of the package.
    manifest : str
        Digest of the manifest whose validation split was run.
    cases, unread : int
        Cases that were compared, and those that could not be read or that PyTorch itself answers with NaN.
    threads : int
        Of every engine.
    files : dict of str to str
        Name to sha256 of each exported file.
    seal : str
        Digest over all the rest; :func:`sealed` writes it.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    manifest: str
    cases: int = Field(ge=1)
    unread: int = Field(default=0, ge=0)
    processor: Processor
    threads: int
    versions: dict[str, str]
    created: str
    files: dict[str, str]
    rows: tuple[ParityRow, ...]
    seal: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seal and self.seal != self._content_digest():
            raise ValueError("seal: the report was changed after it was written")
        return self

    def _content_digest(self) -> str:
        return digest(json.loads(canonical_json(self.model_dump(mode="json", exclude={"seal"}))))

    def sealed(self) -> Self:
        """With the digest over all else."""
        return self.model_copy(update={"seal": self._content_digest()})

    def row(self, kind: str, precision: str) -> ParityRow | None:
        """Find what was measured of an engine on the CPU."""
        fitting = (row for row in self.rows if row.engine["kind"] == kind and row.precision == precision)
        return next((row for row in fitting if row.engine.get("device", "cpu") == "cpu"), None)

    def elsewhere(self, row: ParityRow | None) -> str:
        """Why what was measured of an engine says nothing here; empty if it does, or nothing was measured."""
        here = Processor.here()
        if self.processor != here:
            return f"it was measured on another processor ({self.processor.text}; this is {here.text})"
        return "" if row is None else row.other_libraries

    @property
    def reference(self) -> ParityRow:
        """PyTorch in float32."""
        row = self.row("torch", "32")
        assert row is not None
        return row
