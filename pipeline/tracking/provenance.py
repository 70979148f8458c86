"""Which code made a run: versions, digests of the code and the environment and, from a clone, the commit."""

import hashlib
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import pipeline

PACKAGES = (
    *("torch", "monai", "pytorch-lightning", "mlflow", "numpy", "pydicom", "nibabel", "scikit-learn"),
    *("openvino", "onnxruntime"),
)
"""Distributions that a result may depend on."""

SOURCES = (".py", ".jinja")
"""Files that code is made of."""


def versions() -> dict[str, str]:
    """Version of resdx and of each of :data:`PACKAGES` that is installed."""
    found = {"resdx": pipeline.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Commit of the clone that this code runs from, ``+changes`` if it was edited; empty if it is no clone."""
    folder = Path(pipeline.__file__).resolve().parent
    # an installed package may lie inside somebody else's repository: only a tracked file tells that this is ours
    if _git(folder, "ls-files", "__init__.py") != "__init__.py":
        return ""
    edited = _git(folder, "status", "--porcelain", "--untracked-files=no", ".")
    return (_git(folder, "rev-parse", "HEAD") or "") + ("+changes" if edited else "")


@cache
def requirements() -> str:
    """Every installed distribution as a line ``name==version``, by name; what ``pip install -r`` takes.

    Asked once a process: what this process runs is what it began with.
    """
    found = {re.sub(r"[-_.]+", "-", entry.name).lower(): entry.version for entry in distributions() if entry.name}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found))


def code_digest() -> str:
    """Sha256 over the names and contents of the package's own files."""
    folder = Path(pipeline.__file__).resolve().parent
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in SOURCES:
            name = path.relative_to(folder).as_posix().encode("utf-8")
            whole.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def environment_digest() -> str:
    """Sha256 over :func:`requirements` and the version of Python."""
    text = f"python=={platform.python_version()}\n{requirements()}"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def code_tags() -> Mapping[str, str]:
    """Tags that name the code of a run."""
    tags = {f"version.{name}": number for name, number in versions().items()}
    tags |= {"version.python": platform.python_version()}
    tags |= {"resdx.code": code_digest(), "resdx.environment": environment_digest()}
    if found := commit():
        tags["git.commit"] = found
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
