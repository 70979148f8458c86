"""The networks of an export: which files are written, and how far int8 had to go back."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.agreement import Judge, run_alone
from pipeline.engines.averaging import answer_each
from pipeline.engines.exports import member_names
from pipeline.engines.libraries import library
from pipeline.engines.onnx.session import STEM as ONNX_STEM
from pipeline.engines.onnx_graph import to_onnx
from pipeline.engines.openvino import conversion as openvino
from pipeline.engines.openvino.compiled import runner
from pipeline.engines.openvino.quantization import Quantized, Verdict, quantize_until
from pipeline.engines.parity import ParityRow
from pipeline.package.package import ModelPackage
from pipeline.stages.export_content import Format, Prepared, Written

log = logging.getLogger("resdx")

HARDEST_CASES = 16
"""By which layers are ranked: those that int8 moves most."""


def check_libraries(formats: Sequence[Format], *, int8: bool) -> None:
    """Refuse before anything is read if a library is missing.

    Raises
    ------
    EngineError
    """
    for name in formats:
        for module in ("onnx", "openvino" if name == "openvino" else "onnxruntime"):
            library(module, name)
    if int8 and "openvino" in formats:
        library("nncf", "int8")


def write_networks(
    package: ModelPackage, folder: Path, formats: tuple[Format, ...], prepared: Prepared, *, int8: bool, threads: int
) -> Written:
    """Convert every member and write it into `folder`.

    Raises
    ------
    EngineError
        If a network cannot be converted.
    """
    if "onnx" in formats:
        log.info("converting to ONNX")
        names = member_names(ONNX_STEM, package.members)
        for name, classifier in zip(names, package.build_classifiers(), strict=True):
            (folder / f"{name}.onnx").write_bytes(to_onnx(classifier, package, "onnx"))
    if "openvino" not in formats:
        return Written(formats)
    log.info("converting to OpenVINO")
    models = [openvino.convert(classifier, package) for classifier in package.build_classifiers()]
    for name, model in zip(member_names(openvino.STEM, package.members), models, strict=True):
        openvino.save(model, folder, name)
    if not int8:
        return Written(formats)
    quantized = [_quantize(model, package, prepared, threads) for model in models]
    found = [one for one in quantized if one is not None]
    if len(found) < len(quantized):
        return Written(formats, int8_failure="int8 does not agree even with half of its layers in float32")
    for name, one in zip(member_names(openvino.INT8_STEM, package.members), found, strict=True):
        openvino.save(one.model, folder, name)
    return Written(formats, int8=True, note=_note(found))


def _quantize(model: Any, package: ModelPackage, prepared: Prepared, threads: int) -> Quantized | None:
    """Quantise one member, judged by its own answers in float32."""
    images = [prepared.image(case) for case in prepared.cases]
    own = _answers(model, "32", package, images, threads)
    judge = Judge(package, prepared.cases, own)
    hardest: list[int] = []

    def verdict(tried: Any) -> Verdict:
        agreement = judge.compare(_answers(tried, "int8", package, images, threads))
        if not hardest:
            hardest.extend(np.argsort(-agreement.by_case, kind="stable")[:HARDEST_CASES].tolist())
        row = ParityRow(
            engine={"kind": "openvino", "precision": "int8"},
            precision="int8",
            largest=agreement.largest,
            most=agreement.most,
            auroc_change=agreement.auroc_change,
            flipped=agreement.flipped,
            not_finite=agreement.not_finite,
            seconds=0.0,
        )
        log.info("int8: largest difference %.3g, 95%% %.3g, %s", row.largest, row.most, row.obstacle or "agrees")
        return Verdict.WRONG if row.problem else Verdict.AGREES if row.flipped else Verdict.SOUND

    def differences(tried: Any) -> NDArray[np.float64]:
        few = Judge(package, [prepared.cases[number] for number in hardest], own[hardest])
        answers = _answers(tried, "int8", package, [images[number] for number in hardest], threads)
        return few.compare(answers).by_case

    return quantize_until(model, images, differences, verdict)


def _answers(
    model: Any, precision: str, package: ModelPackage, images: Sequence[NDArray[np.float32]], threads: int
) -> NDArray[np.float32]:
    run = runner(model, precision, threads)

    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        found = answer_each([run], batch, flips=package.tta_flips, outputs=package.outputs, features=0)
        return found.logits

    return run_alone(answer, images)


def _note(found: Sequence[Quantized]) -> str:
    kept, layers = sum(len(one.kept) for one in found), sum(one.layers for one in found)
    return f"{layers - kept} of {layers} layers in int8" + (f", {kept} kept in float32" if kept else "")
