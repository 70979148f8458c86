"""Every engine of an export against PyTorch in float32, on every validation case, in turns."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

import pipeline
from pipeline.domain.scope import Detector
from pipeline.engines.agreement import Judge, run_in_turns
from pipeline.engines.engine import Answer, Engine
from pipeline.engines.exports import PARITY
from pipeline.engines.libraries import COMPUTING, computing, installed
from pipeline.engines.openvino.conversion import has_bfloat16
from pipeline.engines.parity import ParityReport, ParityRow
from pipeline.engines.settings import engine_settings
from pipeline.errors import EngineError
from pipeline.machine import crawls_in_bfloat16
from pipeline.package.package import ModelPackage
from pipeline.progress import track
from pipeline.scope.gate import Gate
from pipeline.stages.export_content import Prepared, Written

CONVERTERS = ("onnx", "nncf", "numpy")


def measure(
    package: ModelPackage,
    prepared: Prepared,
    written: Written,
    draft: ParityReport,
    folder: Path,
    *,
    threads: int,
) -> tuple[ParityRow, ...]:
    """Build every engine from the files as they are written and compare it with the reference.

    Parameters
    ----------
    draft : ParityReport
        Without rows. It lies in `folder` while engines are built, which verify their files by it.
    """
    (folder / PARITY).write_text(draft.sealed().model_dump_json(), encoding="utf-8")
    engines: list[Engine] = []
    kept: list[dict[str, JsonValue]] = []
    failed: list[ParityRow] = []
    for fields in candidates(written):
        exported = {} if fields["kind"] == "torch" else {"exported": str(folder)}
        try:
            engine = engine_settings({**fields, "threads": threads, **exported}).build(package)
        except EngineError as error:
            failed.append(_row(fields, largest=1.0, most=1.0, seconds=0.0, failure=error.message))
            continue
        engines.append(engine)
        kept.append(fields)
    cases = track(prepared.cases, "compare engines", len(prepared.cases))
    answers, seconds = run_in_turns(engines, (prepared.image(case) for case in cases))
    judge = Judge(package, prepared.cases, prepared.reference)
    gate = None if package.scope is None else Gate(package.scope)
    rows = [
        _compared(fields, judge, answer, median, written).model_copy(
            update=scope_apart(gate, answer.features, answers[0].features)
        )
        for fields, answer, median in zip(kept, answers, seconds, strict=True)
    ]
    if written.int8_failure:
        fields = {"kind": "openvino", "precision": "int8"}
        failed.append(_row(fields, largest=1.0, most=1.0, seconds=0.0, failure=written.int8_failure))
    return (*rows, *failed)


def scope_apart(gate: Gate | None, features: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    """Fields of :class:`pipeline.engines.parity.ParityRow`: how otherwise the scope is judged by an engine's features.

    Parameters
    ----------
    features, reference : ndarray of float32, shape (n, d)
        Of the engine, and of PyTorch in float32.
    """
    sound = np.isfinite(features).all(axis=1)
    if gate is None or not sound.any() or (true := gate.feature_scores(reference[sound])) is None:
        return {}
    mine, limit = gate.feature_scores(features[sound]), gate.limits[Detector.FEATURES]
    assert mine is not None
    return {
        "scope_changed": int(((mine > limit) != (true > limit)).sum()),
        "scope_moved": float(np.abs(mine - true).max()),
    }


def candidates(written: Written) -> list[dict[str, JsonValue]]:
    """List the settings of every engine that is measured, PyTorch in float32 first.

    bfloat16 is left out where the processor does not have it: PyTorch would take long, and what OpenVINO
    computes in float32 would vouch for bfloat16.
    """
    found: list[dict[str, JsonValue]] = [
        {"kind": "torch", "precision": precision, "device": device}
        for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]
        for precision in ("32", "bf16")
        if precision == "32" or device == "cuda" or not crawls_in_bfloat16()
    ]
    if "openvino" in written.formats:
        wanted = {"32": True, "bf16": has_bfloat16(), "int8": written.int8}
        found += [{"kind": "openvino", "precision": precision} for precision, is_wanted in wanted.items() if is_wanted]
    if "onnx" in written.formats:
        found.append({"kind": "onnx"})
    return found


def _compared(
    fields: dict[str, JsonValue], judge: Judge, answer: Answer, seconds: float, written: Written
) -> ParityRow:
    agreement = judge.compare(answer.logits)
    return _row(
        fields,
        largest=agreement.largest,
        most=agreement.most,
        auroc_change=agreement.auroc_change,
        flipped=agreement.flipped,
        not_finite=agreement.not_finite,
        seconds=seconds,
        note=written.note if fields.get("precision") == "int8" else "",
    )


def _row(fields: dict[str, JsonValue], **measured: object) -> ParityRow:
    versions = computing(str(fields["kind"]))
    row = {"engine": fields, "precision": fields.get("precision", "32"), "versions": versions, **measured}
    return ParityRow.model_validate(row)


def versions() -> dict[str, str]:
    """Versions of all that an export rests on."""
    return {"resdx": pipeline.__version__} | installed((*COMPUTING.values(), *CONVERTERS))
