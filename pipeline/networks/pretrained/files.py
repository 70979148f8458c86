"""Read tensors from a file of others without executing anything that stands in it."""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from pipeline.domain.finding import Finding
from pipeline.errors import PretrainedError

PACKAGE_WEIGHTS = "weights.safetensors"
FIRST_OF_ENSEMBLE = "weights_0.safetensors"
PACKAGE_CONTENT = "package.json"
PACKAGE_CARD = "card.json"
PACKAGE_DIGESTS = "digests.json"

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Under which key a training script keeps the weights beside its other state."""

AGAIN = "Copy or download the file again and compare its sha256 with the publisher's."
NO_PICKLE = (
    "Save only the weights where they were made, torch.save(model.state_dict(), ...) or "
    "safetensors.torch.save_file(model.state_dict(), ...), and name that file."
)


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file holds.

    Attributes
    ----------
    name : str
        Of the file, without its path, or of the model in a package.
    digest : str
        sha256 of the bytes that were read.
    findings : tuple of Finding or None
        In the order of the heads; only a model package tells.
    backbone : mapping or None
        Settings of the backbone; only a model package tells.
    """

    name: str
    digest: str
    tensors: Mapping[str, Tensor]
    findings: tuple[Finding, ...] | None = None
    backbone: Mapping[str, Any] | None = None


def digest_of(path: Path) -> str:
    """Sha256 of a file of weights; of a model package, that of its weights.

    Raises
    ------
    PretrainedError
        It cannot be read.
    """
    _refuse_ensemble(path)
    try:
        with (path / PACKAGE_WEIGHTS if path.is_dir() else path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_weights(path: Path) -> WeightsFile:
    """Read a .safetensors file, a PyTorch state dict or the folder of a model package.

    Raises
    ------
    PretrainedError
        It cannot be read, is damaged, holds Python objects or no weights.
    """
    _refuse_ensemble(path)
    try:
        if path.is_dir():
            return _read_package(path)
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    tensors = _read_safetensors(path, data) if _looks_like_safetensors(path, data) else _read_torch(path, data)
    return WeightsFile(path.name, hashlib.sha256(data).hexdigest(), tensors)


def _looks_like_safetensors(path: Path, data: bytes) -> bool:
    """Eight bytes of length, then JSON."""
    return path.suffix == ".safetensors" or data[8:9] == b"{"


def _read_safetensors(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise PretrainedError(f"{path} is no safetensors file or is damaged: {_short(error)}.", AGAIN) from error


def _read_torch(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "WeightsUnpickler" in str(error) or "weights_only" in str(error):
            message = (
                f"{path} holds Python objects beside its weights, or none at all: pickle, which is never executed."
            )
            raise PretrainedError(message, NO_PICKLE) from error
        raise PretrainedError(f"{path} is no PyTorch file or is damaged: {_short(error)}.", AGAIN) from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise PretrainedError(f"{path} is a TorchScript program, not weights.", NO_PICKLE) from error
        raise PretrainedError(f"{path} is no PyTorch file or is damaged: {_short(error)}.", AGAIN) from error
    except (EOFError, KeyError, ValueError, IndexError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise PretrainedError(f"{path} is no PyTorch file or is damaged: {_short(error)}.", AGAIN) from error
    return _unwrap(path, found)


def _unwrap(path: Path, found: object) -> dict[str, Tensor]:
    """Weights within what a training script saved."""
    if isinstance(found, Mapping):
        wrapped = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if wrapped is not None and not any(isinstance(value, Tensor) for value in found.values()):
            return _unwrap(path, wrapped)
        tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if tensors:
            return tensors
    held = list(found)[:5] if isinstance(found, Mapping) else type(found).__name__
    raise PretrainedError(f"{path} holds no weights by name, found {held}.", NO_PICKLE)


def _read_package(folder: Path) -> WeightsFile:
    """Weights of a model package, after their digests were verified."""
    if not (folder / PACKAGE_DIGESTS).is_file():
        raise PretrainedError(f"{folder} is no model package: {PACKAGE_DIGESTS} is missing.", "Name a file of weights.")
    sealed = {name: (folder / name).read_bytes() for name in (PACKAGE_WEIGHTS, PACKAGE_CONTENT, PACKAGE_CARD)}
    digests = _json(folder / PACKAGE_DIGESTS, (folder / PACKAGE_DIGESTS).read_bytes()).get("files")
    for name, data in sealed.items():
        if not isinstance(digests, dict) or digests.get(name) != hashlib.sha256(data).hexdigest():
            message = f"refused: digest of {name} in {folder} is not the one in {PACKAGE_DIGESTS}."
            raise PretrainedError(message, "Take an untouched copy of the package.")
    values = _json(folder / PACKAGE_CONTENT, sealed[PACKAGE_CONTENT])
    try:
        findings = TypeAdapter(tuple[Finding, ...]).validate_python(values.get("findings"), strict=False)
    except ValidationError as error:
        message = f"{folder / PACKAGE_CONTENT} has findings that this resdx does not know."
        raise PretrainedError(message, "Name its weights.safetensors instead.") from error
    return WeightsFile(
        f"the package {_json(folder / PACKAGE_CARD, sealed[PACKAGE_CARD]).get('name') or folder.resolve().name}",
        hashlib.sha256(sealed[PACKAGE_WEIGHTS]).hexdigest(),
        _read_safetensors(folder / PACKAGE_WEIGHTS, sealed[PACKAGE_WEIGHTS]),
        findings,
        values.get("network", {}).get("backbone"),
    )


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise PretrainedError(f"{path} is damaged.", "Take an untouched copy of the package.") from error
    return found if isinstance(found, dict) else {}


def _refuse_ensemble(path: Path) -> None:
    if path.is_dir() and not (path / PACKAGE_WEIGHTS).is_file() and (path / FIRST_OF_ENSEMBLE).is_file():
        raise PretrainedError(
            f"{path} is an ensemble: one network cannot begin with the weights of several.",
            "Name the package of one of its members (members/NAME/package in the run folder).",
        )


def _unreadable(path: Path, error: OSError) -> PretrainedError:
    return PretrainedError(f"{path} cannot be read: {error.strerror}.", "Check pretrained.file and its permissions.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
