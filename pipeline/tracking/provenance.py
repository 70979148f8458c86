"""Which code made a run: versions and, from a clone, the commit."""

import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pipeline

PACKAGES = ("torch", "monai", "pytorch-lightning", "mlflow", "numpy", "pydicom", "nibabel", "scikit-learn")
"""Distributions that a result may depend on."""


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


def code_tags() -> Mapping[str, str]:
    """Tags that name the code of a run."""
    tags = {f"version.{name}": number for name, number in versions().items()}
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
