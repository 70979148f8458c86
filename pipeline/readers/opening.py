"""Which readers there are, and which of them a file belongs to."""

from functools import cache

from pipeline.config import parts
from pipeline.readers.reader import Reader


@cache
def readers() -> dict[str, Reader]:
    """Every reader by name, in name order."""
    return {name: config().build() for name, config in parts("pipeline.readers")}  # type: ignore[attr-defined, call-arg]


def reader_of(head: bytes) -> str:
    """Name of the reader that claims a file by its first bytes, or an empty string."""
    return next((name for name, reader in readers().items() if reader.claims(head)), "")


def named_reader(name: str) -> str:
    """Name of the reader whose suffix a file name carries, or an empty string."""
    lower = name.lower()
    return next((key for key, reader in readers().items() if lower.endswith(reader.suffixes)), "")
