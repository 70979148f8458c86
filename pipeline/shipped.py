"""The configurations that come with the package."""

from pathlib import Path

from pipeline.errors import UsageError

_INSTALLED = Path(__file__).resolve().parent / "shipped_configs"
_CHECKOUT = Path(__file__).resolve().parent.parent / "configs"


def shipped_configs() -> Path:
    """Folder of the shipped configurations: inside an installed wheel, or ``configs/`` of a checkout."""
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def find_config(verb: str, text: str) -> Path:
    """Path of a configuration file, or of the shipped one of that name (``adrenal3d`` for ``train``).

    Raises
    ------
    UsageError
        If neither exists; the message lists the shipped names.
    """
    path = Path(text)
    if path.is_file():
        return path
    folder = shipped_configs() / verb
    if "/" not in text and (shipped := folder / f"{path.stem}.yaml").is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise UsageError(
        f"There is no configuration {text}.", f"Give a YAML file, or one of the shipped ones: {names or 'none'}."
    )
