"""``resdx info``: versions, devices, codecs, and what this machine can do; ``resdx info CODE`` explains a code."""

import difflib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch
from pydantic import Field

from pipeline.config import Settings
from pipeline.domain.codes import EXPLANATIONS, SKIPS, Code
from pipeline.domain.prediction import EarlierStatus, ScopeVerdict
from pipeline.errors import UsageError
from pipeline.machine import bfloat16_units, cores, memory_limit
from pipeline.stages.outcome import Outcome
from pipeline.tracking.provenance import commit, versions

CODECS = {
    "imagecodecs": "JPEG (8 and 12 bit), JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K",
    "pillow": "colour JPEG, pictures",
}
"""Optional and required decoders, by distribution."""

WORDS = {
    EarlierStatus.SUPERSEDED.name: (
        "status in superseded.csv",
        "An earlier prediction of a case whose scan has changed since: slices were added, removed or replaced.",
        "Use the prediction whose digest stands under superseded_by; where that is empty, the scan of today is refused "
        "and rejections.csv says why.",
    ),
    EarlierStatus.ABSENT.name: (
        "status in superseded.csv",
        "An earlier prediction of a scan that is no longer in the folder, or is no longer selected.",
        "It is kept for the record. If the scan should be there, look whether the folder is mounted whole.",
    ),
    ScopeVerdict.IN_SCOPE.name: (
        "scope in predictions.csv",
        "Nothing that was compared is unlike the training data.",
        "None is needed; it does not say that the answer is right.",
    ),
    ScopeVerdict.OUT_OF_SCOPE.name: (
        "scope in predictions.csv",
        "The scan is unlike those that the model was trained on, so its probabilities are withheld.",
        "scope_reasons says in what. Look at the scan; `scope.out_of_scope=report` shows the answers all the same.",
    ),
    ScopeVerdict.NOT_CHECKED.name: (
        "scope in predictions.csv",
        "Nothing was held against the training data: the model has no reference, or the check was turned off.",
        "Package the model with a newer resdx, or leave `scope.check` on.",
    ),
}
"""Words of tables that are no codes: where they stand, what they mean, what to do."""

GIB = 2**30


class Config(Settings):
    """Settings of ``resdx info``."""

    code: str = Field(default="", description="A code from a rejections table, to be explained; empty for the machine.")


def run(config: Config) -> Outcome:
    """Describe the machine, or one code.

    Raises
    ------
    UsageError
        If there is no such code; similar ones are named.
    """
    return Outcome(lines=tuple(_explain(config.code) if config.code else _machine()))


def _explain(text: str) -> Iterator[str]:
    name = text.strip().upper()
    if name in WORDS:
        where, meaning, remedy = WORDS[name]
        yield f"{name} ({where})"
        yield f"  meaning: {meaning}"
        yield f"  remedy:  {remedy}"
        return
    if name not in Code.__members__:
        near = difflib.get_close_matches(name, (*Code.__members__, *WORDS), n=3)
        known = f"Known codes: {', '.join(Code.__members__)}; words of tables: {', '.join(WORDS)}."
        listed = f"Did you mean {', '.join(near)}?" if near else known
        raise UsageError(f"{text!r} is no code.", listed)
    code = Code[name]
    yield f"{code.value} ({'skipped' if code in SKIPS else 'rejected'})"
    yield f"  meaning: {EXPLANATIONS[code].meaning}"
    yield f"  remedy:  {EXPLANATIONS[code].remedy}"


def _machine() -> Iterator[str]:
    yield from _versions()
    yield from _devices()
    yield from _codecs()


def _versions() -> Iterator[str]:
    yield "Versions"
    yield f"  python {platform.python_version()}, {platform.system()} {platform.machine()}"
    for name, number in versions().items():
        yield f"  {name} {number}"
    if found := commit():
        yield f"  commit {found}"


def _devices() -> Iterator[str]:
    yield "Devices"
    yield f"  CPU: {cores()} cores usable, {torch.get_num_threads()} PyTorch threads, {_capability()}"
    yield f"  memory: {memory_limit() / GIB:.1f} GiB, {psutil.virtual_memory().available / GIB:.1f} GiB free now"
    if not torch.cuda.is_available():
        yield "  GPU: none that PyTorch can use; training and prediction run on the CPU"
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        half = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield f"  GPU {number}: {properties.name}, {properties.total_memory / GIB:.1f} GiB, {half}"


def _capability() -> str:
    """Widest vector unit that PyTorch uses, and whether the processor computes in bfloat16."""
    return f"{torch.backends.cpu.get_cpu_capability()}, bf16 in hardware: {', '.join(bfloat16_units()) or 'no'}"


def _codecs() -> Iterator[str]:
    yield "Codecs"
    yield "  uncompressed, deflated, RLE: built in"
    for name, what in CODECS.items():
        try:
            yield f"  {what}: {name} {version(name)}"
        except PackageNotFoundError:
            yield f"  {what}: not with {name}, which is not installed"
