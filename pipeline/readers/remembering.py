"""A discovery as plain JSON values, and back: nothing that is read can run."""

from dataclasses import astuple
from pathlib import Path
from typing import Any

from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, Identity, Refusal, Series, SourceFile


def to_json(found: Discovery) -> dict[str, Any]:
    """Write a discovery as JSON values; paths are relative to its root."""
    files: dict[Path, int] = {}
    rows: list[tuple[str, int, str, int | None]] = []

    def number(file: SourceFile) -> int:
        if file.path not in files:
            files[file.path] = len(rows)
            rows.append((file.relative, file.size, file.sha256, file.modified_ns))
        return files[file.path]

    series = [
        (
            *(one.reader, one.key, [number(file) for file in one.files], one.modality, one.stack, one.description),
            *(astuple(one.identity), dict(one.attributes)),
        )
        for one in found.series
    ]
    refusals = [
        (number(one.file), one.code, one.message, one.series, one.stage, astuple(one.identity))
        for one in found.refusals
    ]
    return {"files": rows, "series": series, "refusals": refusals}


def from_json(content: dict[str, Any], root: Path) -> Discovery:
    """Read a discovery of `root` again."""
    files = [
        SourceFile(root / relative, relative, size, sha256, modified_ns)
        for relative, size, sha256, modified_ns in content["files"]
    ]
    series = tuple(
        Series(
            *(reader, key, tuple(files[number] for number in numbers), modality, stack, description),
            *(Identity(*identity), attributes),
        )
        for reader, key, numbers, modality, stack, description, identity, attributes in content["series"]
    )
    refusals = tuple(
        Refusal(files[number], Code(code), message, name, stage, Identity(*identity))
        for number, code, message, name, stage, identity in content["refusals"]
    )
    return Discovery(root, series, refusals)
