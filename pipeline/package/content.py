"""What stands in package.json, and how a folder's files vouch for each other in digests.json."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipeline.domain.finding import Finding
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.frozen import Frozen, digest
from pipeline.domain.plan import Plan
from pipeline.domain.scope import ScopeReference
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.errors import PackageError
from pipeline.networks.settings import NetworkSettings
from pipeline.preprocessing.transforms import PREPARATION_VERSION

SCHEMA_VERSION = 1

WEIGHTS = "weights.safetensors"
"""Weights of a package of one network; those of an ensemble are ``weights_0.safetensors``, ``weights_1...``."""

CONTENT = "package.json"
CARD = "card.json"
CARD_TEXT = "MODEL_CARD.md"
DIGESTS = "digests.json"

MEMBER_WEIGHTS = re.compile(r"weights_\d+\.safetensors")


def weight_files(members: int) -> tuple[str, ...]:
    """Names of the files of weights, in the order of the members."""
    return (WEIGHTS,) if members == 1 else tuple(f"weights_{number}.safetensors" for number in range(members))


def sealed_files(members: int) -> tuple[str, ...]:
    """Files whose sha256 stands in digests.json; a package holds these, digests.json and nothing else."""
    return (*weight_files(members), CONTENT, CARD, CARD_TEXT)


SEALED = sealed_files(1)
"""Of a package of one network."""

Noun = TypeVar("Noun", bound=Frozen)

COPY_AGAIN = "Take an untouched copy of the package, or train again."


class Content(Frozen):
    """Everything but the weights that changes a prediction.

    Attributes
    ----------
    preparation_version : int
        Version of the code that turned scans into network inputs; another one may give other voxels.
    tta_flips : tuple of int
        Spatial axes over whose flips the logits are averaged; see :mod:`pipeline.engines.flips`.
    scope : ScopeReference or None
        What scans are compared with; None: whether a scan is in scope is not checked.
    """

    schema_version: int = SCHEMA_VERSION
    network: NetworkSettings
    plan: Plan
    fingerprint: Fingerprint
    findings: tuple[Finding, ...] = Field(min_length=1)
    calibration: tuple[Calibration, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    manifest_digest: str
    preparation_version: int
    tta_flips: tuple[int, ...] = ()
    scope: ScopeReference | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [finding.name for finding in self.findings]
        if len(set(names)) != len(names):
            raise ValueError(f"findings must have distinct names, got {names}")
        _at_most_one_each("calibration", [entry.finding for entry in self.calibration], names)
        _at_most_one_each("operating_points", [point.finding for point in self.operating_points], names)
        if any(not 0 <= axis < self.plan.ndim for axis in self.tta_flips):
            raise ValueError(f"tta_flips {self.tta_flips} must name axes below {self.plan.ndim}")
        if any(entry.temperature <= 0 for entry in self.calibration):
            raise ValueError("calibration temperatures must be positive")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_scope(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave a reference out that is not there: packages of before there were any keep their bytes and name."""
        content: dict[str, Any] = dump(self)
        return content if self.scope is not None else {name: one for name, one in content.items() if name != "scope"}


def _at_most_one_each(field: str, named: Sequence[str], findings: Sequence[str]) -> None:
    if len(set(named)) != len(named) or not set(named) <= set(findings):
        raise ValueError(f"{field} must name each of {list(findings)} at most once, got {list(named)}")


class Version(Frozen):
    """The one field of package.json that every schema version has."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int


class Digests(Frozen):
    """What digests.json holds.

    Attributes
    ----------
    files : dict of str to str
        File name to sha256, for each of :func:`sealed_files`.
    model : str
        See :func:`model_digest`.
    """

    files: dict[str, str]
    model: str

    @property
    def members(self) -> int:
        """How many networks answer together: the files of weights that are listed."""
        return 1 if WEIGHTS in self.files else sum(bool(MEMBER_WEIGHTS.fullmatch(name)) for name in self.files)

    @property
    def weights(self) -> tuple[str, ...]:
        """Sha256 of the weights, in the order of the members."""
        return tuple(self.files[name] for name in weight_files(self.members))


def model_digest(weights: Sequence[str], content: Content) -> str:
    """Digest over what changes a prediction: weights and package.json, not the card. It names the model.

    Parameters
    ----------
    weights : sequence of str
        Sha256 of each member's weights. That of one network stands alone, as it did before there were ensembles.
    """
    named: str | list[str] = weights[0] if len(weights) == 1 else list(weights)
    return digest({"weights": named, "content": content.model_dump(mode="json")})


def seal(folder: Path, content: Content, members: int) -> Digests:
    """Digests of a folder that holds all of :func:`sealed_files`."""
    files = {name: sha256_of(folder / name) for name in sealed_files(members)}
    return Digests(files=files, model=model_digest([files[name] for name in weight_files(members)], content))


def verify(folder: Path) -> Digests:
    """Check that exactly the right files are there and that each is the one that was sealed.

    Raises
    ------
    PackageError
        Naming the file that is missing, foreign or changed.
    """
    if not (folder / DIGESTS).is_file():
        raise PackageError(f"{folder} is no model package: {DIGESTS} is missing.", COPY_AGAIN)
    digests = read_json(folder / DIGESTS, Digests)
    sealed = sealed_files(digests.members or 1)
    if set(digests.files) != set(sealed):
        raise PackageError(f"refused: {DIGESTS} of {folder} does not list exactly {', '.join(sealed)}.", COPY_AGAIN)
    present = {entry.name for entry in folder.iterdir()}
    for name in (*sealed, DIGESTS):
        if name not in present:
            raise PackageError(f"refused: {name} is missing from the package {folder}.", COPY_AGAIN)
    if foreign := sorted(present - {*sealed, DIGESTS}):
        raise PackageError(
            f"refused: {foreign[0]} does not belong in the package {folder}.", "Remove it, or take an untouched copy."
        )
    for name in sealed:
        check_sha256(folder / name, sha256_of(folder / name), digests)
    return digests


def check_sha256(path: Path, found: str, digests: Digests) -> None:
    """Refuse a sealed file whose sha256 is not the recorded one."""
    if found != digests.files[path.name]:
        raise PackageError(
            f"refused: digest of {path.name} in {path.parent} is not the one in {DIGESTS}: "
            "the file was changed after the package was written.",
            COPY_AGAIN,
        )


def read_content(folder: Path) -> Content:
    """Read package.json.

    Raises
    ------
    PackageError
        If it is not valid or comes from a version whose packages or prepared voxels are not ours.
    """
    version = read_json(folder / CONTENT, Version).schema_version
    if version != SCHEMA_VERSION:
        message = f"{folder / CONTENT} has schema version {version}, this resdx reads {SCHEMA_VERSION}."
        raise PackageError(message, "Use the resdx that wrote it, or train again.")
    content = read_json(folder / CONTENT, Content)
    if content.preparation_version != PREPARATION_VERSION:
        raise PackageError(
            f"{folder} was trained on scans prepared by version {content.preparation_version}, this resdx prepares "
            f"them by version {PREPARATION_VERSION}: the same scan would give other voxels.",
            "Use the resdx that wrote it, or train again.",
        )
    return content


def read_json(path: Path, noun: type[Noun]) -> Noun:
    """Read one JSON file of a package."""
    try:
        return noun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}.", "Check permissions and the disk.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "whole file"
        raise PackageError(f"refused: {path} is not valid at {where}: {first['msg']}.", COPY_AGAIN) from error


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
