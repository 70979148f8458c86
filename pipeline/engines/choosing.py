"""What `auto` chooses."""

import logging
from pathlib import Path

from pydantic import JsonValue

from pipeline.engines.exports import PARITY, check_model, default_folder, read_report
from pipeline.engines.parity import ParityReport, ParityRow, Processor
from pipeline.engines.settings import EngineSettings, engine_settings
from pipeline.package.package import ModelPackage

log = logging.getLogger("resdx")

REFERENCE = {"kind": "torch", "precision": "32"}


def choose(package: ModelPackage, exported: Path | None, threads: int) -> EngineSettings:
    """Choose by the parity report of an export; see :mod:`pipeline.engines.auto`."""
    folder = exported or default_folder(package)
    if not (folder / PARITY).is_file() and exported is None:
        log.info("engine auto: PyTorch in float32; `resdx export` measures whether another engine is faster and agrees")
        return engine_settings({**REFERENCE, "threads": threads})
    if not (folder / PARITY).is_file():
        return _fall_back(f"{folder} holds no parity report; `resdx export` writes one", threads)
    report = read_report(folder)
    if report.model != package.digest:
        if exported is not None:
            check_model(report, package, folder)
        return _fall_back(f"{folder} is an export of another model; run `resdx export` again", threads)
    here = Processor.here()
    if report.processor != here:
        reason = f"{folder} was measured on another processor ({report.processor.text}; this is {here.text})"
        return _fall_back(f"{reason}; run `resdx export` here", threads)
    row, passed_over = fastest(report)
    for text in passed_over:
        log.info("engine auto: not %s", text)
    if row is None:
        return _fall_back("no engine was measured to agree, by the report in " + str(folder), threads)
    against = report.reference.seconds / row.seconds if row.seconds else 1.0
    log.info(
        "engine auto: %s, the fastest of %d that agree on %d validation cases; %.1f times as fast as torch 32",
        row.title,
        sum(not other.obstacle for other in report.rows),
        report.cases,
        against,
    )
    return settings_of(row, report, folder, threads)


def fastest(report: ParityReport) -> tuple[ParityRow | None, list[str]]:
    """Return the fastest row that agrees, flips no decision and was measured with the libraries that are installed.

    Returns
    -------
    ParityRow or None
    list of str
        Faster ones, and why each is passed over.
    """
    passed_over: list[str] = []
    for row in sorted(report.rows, key=lambda one: one.seconds):
        obstacle = row.obstacle or row.other_libraries
        if not obstacle:
            return row, passed_over
        passed_over.append(f"{row.title}: {obstacle}")
    return None, passed_over


def settings_of(row: ParityRow, report: ParityReport, folder: Path, threads: int) -> EngineSettings:
    """Return settings of the engine that a row was measured of."""
    fields: dict[str, JsonValue] = {**row.engine, "threads": threads}
    if row.engine["kind"] != REFERENCE["kind"]:
        fields |= {"exported": str(folder.resolve()), "sealed": report.seal}
    return engine_settings(fields)


def _fall_back(reason: str, threads: int) -> EngineSettings:
    log.warning("engine auto: PyTorch in float32: %s.", reason)
    return engine_settings({**REFERENCE, "threads": threads})
