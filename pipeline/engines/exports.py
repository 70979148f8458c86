"""The folder that ``resdx export`` writes: files of networks, and the parity report that vouches for them."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.engines.parity import SCHEMA_VERSION, ParityReport
from pipeline.errors import EngineError
from pipeline.package.content import Version
from pipeline.package.package import ModelPackage

log = logging.getLogger("resdx")

PARITY = "parity.json"
PARITY_TEXT = "parity.md"

SUFFIX = ".exported"
"""Of the default folder, which stands beside that of the package: within it every file is one of the package's own."""

AGAIN = "Run `resdx export` again on this machine."


def default_folder(package: ModelPackage) -> Path:
    """Folder in which `auto` looks, and into which ``resdx export`` writes where it is not told."""
    folder = package.folder.resolve()
    return folder.with_name(folder.name + SUFFIX)


def member_names(stem: str, members: int) -> tuple[str, ...]:
    """Names of the networks of a package, without suffix: one stands alone, those of an ensemble are numbered."""
    return (stem,) if members == 1 else tuple(f"{stem}_{number}" for number in range(members))


def read_report(folder: Path) -> ParityReport:
    """Read the parity report of an export.

    Raises
    ------
    EngineError
        If there is none, or it was changed.
    """
    path = folder / PARITY
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{folder} is no export: {PARITY} cannot be read ({error.strerror})."
        raise EngineError(message, "Give a folder that `resdx export` wrote.") from error
    try:
        version = Version.model_validate_json(content).schema_version
        if version != SCHEMA_VERSION:
            raise EngineError(f"{path} has schema version {version}, this resdx reads {SCHEMA_VERSION}.", AGAIN)
        report = ParityReport.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "whole file"
        raise EngineError(f"refused: {path} is not valid at {where}: {first['msg']}.", AGAIN) from error
    if not report.seal:
        raise EngineError(f"refused: {path} has no seal.", AGAIN)
    return report


def check_model(report: ParityReport, package: ModelPackage, folder: Path) -> None:
    """Refuse an export of another model.

    Raises
    ------
    EngineError
    """
    if report.model != package.digest:
        raise EngineError(
            f"refused: {folder} is an export of model {report.model[:12]}, not of {package.digest[:12]} "
            f"in {package.folder}.",
            AGAIN,
        )


def read_files(
    folder: Path, names: Sequence[str], package: ModelPackage, *, sealed: str = ""
) -> tuple[ParityReport, list[bytes]]:
    """Read files of an export; the bytes that are hashed are the bytes that are handed out.

    Parameters
    ----------
    sealed : str
        Seal of the report that is expected; empty takes any.

    Raises
    ------
    EngineError
        If the export is damaged, edited, of another model, another one than expected, or does not hold a file.
    """
    report = read_report(folder)
    check_model(report, package, folder)
    if sealed and report.seal != sealed:
        raise EngineError(
            f"refused: {folder} holds another export than the one that was chosen before.",
            "Put the old one back, or begin with a new output folder.",
        )
    return report, [_read(folder / name, report) for name in names]


def check_measured(report: ParityReport, kind: str, precision: str, folder: Path) -> bool:
    """Tell whether an engine is known to agree here: on this kind of processor, with the libraries that are installed.

    Where it was measured elsewhere, float32 and bf16 may run all the same, with a warning; int8, which was made for
    the arithmetic it was measured with, may not.

    Raises
    ------
    EngineError
        It was measured and does not agree, wherever that was, or is int8 that was measured elsewhere.
    """
    row = report.row(kind, precision)
    elsewhere = report.elsewhere(row)
    message = f"{kind} in {precision} of {folder} is not known to agree with PyTorch here: {elsewhere}."
    if elsewhere and precision == "int8":
        raise EngineError(message, AGAIN)
    if row is not None and row.problem:
        message = f"{kind} in {precision} does not agree with float32 by the report in {folder}: {row.problem}."
        raise EngineError(message, "Give engine.kind=torch." if precision == "32" else "Give engine.precision=32.")
    if elsewhere:
        log.warning("%s %s", message, AGAIN)
    if elsewhere or row is None:
        return False
    if row.obstacle:
        log.warning("%s in %s: by the report in %s %s.", kind, precision, folder, row.obstacle)
    return True


def _read(path: Path, report: ParityReport) -> bytes:
    if path.name not in report.files:
        raise EngineError(f"The export {path.parent} holds no {path.name}.", f"Its {PARITY_TEXT} says what it holds.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}.", AGAIN) from error
    if hashlib.sha256(content).hexdigest() != report.files[path.name]:
        message = f"refused: digest of {path.name} in {path.parent} is not the one in {PARITY}: the file was changed."
        raise EngineError(message, AGAIN)
    return content
