"""Settings of trials as people read them: files of weights by name, for the folders above may name people."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pipeline.training.search.settings import Choice, Dimension
from pipeline.training.search.trials import TrialRow

WEIGHTS = "pretrained.file"
"""The setting that is a path, where a space may have one; its parent may be searched as a whole."""


def shown_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Dump a space, files by their names."""
    dumped = {key: one.model_dump(mode="json") for key, one in space.items()}
    for key, one in space.items():
        if isinstance(one, Choice):
            dumped[key]["choices"] = [shown_value(key, value, space) for value in one.choices]
    return dumped


def shown_rows(rows: Sequence[TrialRow], space: Mapping[str, Dimension]) -> tuple[TrialRow, ...]:
    """Trials with files by their names, in their settings and in why they failed."""
    names = names_of(space)
    shown = []
    for row in rows:
        reason = row.reason
        for path in sorted(names, key=len, reverse=True):
            reason = reason.replace(path, names[path])
        params = {key: shown_value(key, value, space) for key, value in row.params.items()}
        shown.append(row.model_copy(update={"params": params, "reason": reason}))
    return tuple(shown)


def shown_value(key: str, value: Any, space: Mapping[str, Dimension]) -> Any:
    """Return the value of a setting, a file by its name; see :func:`names_of`."""
    if key == WEIGHTS:
        return names_of(space).get(str(value), value)
    if WEIGHTS.startswith(f"{key}.") and isinstance(value, Mapping):
        inner = WEIGHTS.removeprefix(f"{key}.")
        return {name: shown_value(WEIGHTS, given, space) if name == inner else given for name, given in value.items()}
    return value


def names_of(space: Mapping[str, Dimension]) -> dict[str, str]:
    """Paths of a space to the names that they are shown by; files of one name are numbered as they stand there."""
    paths: dict[str, None] = {}
    for key, one in space.items():
        for value in one.choices if isinstance(one, Choice) else ():
            given = value.get(WEIGHTS.removeprefix(f"{key}.")) if isinstance(value, Mapping) else value
            if given is not None and WEIGHTS.startswith(key):
                paths[str(given)] = None
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(PurePath(path).name, []).append(path)
    return {
        path: name if len(same) == 1 else f"{name} ({number})"
        for name, same in alike.items()
        for number, path in enumerate(same, start=1)
    }
