"""One oddity: its phantoms, and the tests that go deeper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phantoms.readings import Truth, assert_all_right, assert_refused, read_folder

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.options import ReadOptions

Write = Callable[[Path], Sequence[Truth] | None]
"""Writes scans into a folder; returns the volumes that must come out, None where they must be refused."""


@dataclass(frozen=True)
class Phantom:
    """Scans with known voxels and millimetres.

    Attributes
    ----------
    codes : tuple of Code
        Where volumes must come out: the skips and rejections that stand beside them, no others. Else the reasons, of
        which each that is given must be one.
    is_volume : bool
        Whether somebody could read the scans right. Where we refuse them all the same, that is counted.
    note : str
        What a note of every volume must hold.
    """

    name: str
    write: Write
    codes: tuple[Code, ...] = ()
    options: ReadOptions = field(default_factory=ReadOptions)
    is_volume: bool = False
    note: str = ""
    atol: float = 0.0


@dataclass(frozen=True)
class Oddity:
    """A row of the table.

    Attributes
    ----------
    proofs : tuple of str
        Tests that go deeper, or prove what is no matter of reading one folder: ``file::function`` below tests/.
    """

    name: str
    must: str
    phantoms: tuple[Phantom, ...] = ()
    proofs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of a phantom."""

    right: bool
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "right" if self.right else ", ".join(self.refused)


def judge(phantom: Phantom, folder: Path) -> Verdict:
    """Write and read a phantom.

    Raises
    ------
    AssertionError
        A voxel, a millimetre or the reason is another one than it must be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truths = phantom.write(folder)
    reading = read_folder(folder, phantom.options)
    if truths is None:
        assert_refused(reading, *phantom.codes)
        return Verdict(False, tuple(sorted(reading.codes - {Code.INCOMPLETE})))
    assert_all_right(reading, truths, atol=phantom.atol)
    assert reading.codes == set(phantom.codes), (reading.codes, reading.messages[:3])
    assert all(any(phantom.note in note for note in volume.notes) for _, volume in reading.volumes) or not phantom.note
    return Verdict(True)


def verdict_of(phantom: Phantom, folder: Path) -> Verdict | str:
    """As :func:`judge`; a wrong volume is told in words."""
    try:
        return judge(phantom, folder)
    except (AssertionError, RejectedInput) as error:
        told = str(error).split("\n")
        return f"WRONG: {next((line for line in told if line), 'another note')}"
