"""Discover and read a folder as the verbs do, and compare what comes out with what was put in."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, Refusal, Series
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover, reopen
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

PRIVATE = ("PAT-", "Phantom^", "1.2.826.0.1.3680043.8.498", "ACC0")
"""What the identities of phantoms begin with; no message may hold it."""

Truth = tuple[NDArray[Any], NDArray[np.float64]]
"""Voxels (i, j, k) or (i, j, k, 3), and the affine."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A folder after discovery and reading."""

    discovery: Discovery
    volumes: tuple[tuple[Series, Volume], ...]
    rejected: tuple[tuple[Series, RejectedInput], ...]

    @property
    def codes(self) -> set[str]:
        """Codes of everything that was refused, at discovery or while reading."""
        found = {str(refusal.code) for refusal in self.discovery.refusals}
        return found | {str(error.code) for _, error in self.rejected}

    @property
    def messages(self) -> list[str]:
        found = [refusal.message for refusal in self.discovery.refusals]
        return found + [error.message for _, error in self.rejected]

    def refusals(self, code: Code) -> list[Refusal]:
        return [refusal for refusal in self.discovery.refusals if refusal.code is code]

    @property
    def volume(self) -> Volume:
        """The only volume."""
        assert len(self.volumes) == 1, f"{len(self.volumes)} volumes, refused: {self.codes} {self.messages[:3]}"
        return self.volumes[0][1]


def read_folder(root: Path, options: ReadOptions | None = None) -> Reading:
    """Discover, read, and check the laws that hold for every folder."""
    options = options or ReadOptions()
    discovery = discover(root, options)
    check_conservation(discovery, root)
    volumes, rejected = [], []
    for series in discovery.series:
        try:
            volumes.append((series, read(series, options)))
        except RejectedInput as error:
            assert not error.path or Path(error.path) in {file.path for file in series.files}
            rejected.append((series, error))
    reading = Reading(discovery, tuple(volumes), tuple(rejected))
    check_privacy(reading.messages, root)
    for _, volume in volumes:
        check_privacy(volume.notes, root)
    return reading


def check_conservation(discovery: Discovery, root: Path) -> None:
    """Each entry of the folder is in series or in one refusal; only a multi-frame file is in two series, or in both."""
    entries = {Path(folder) / name for folder, _, names in os.walk(root.resolve()) for name in names}
    in_series = [file.path for series in discovery.series for file in series.files]
    refused = [refusal.file.path for refusal in discovery.refusals]
    assert set(in_series) | set(refused) >= entries
    unused = [path for path in refused if path not in in_series]
    assert len(unused) == len(set(unused))
    for series in discovery.series:
        assert len(series.files) == 1 or not {file.path for file in series.files} & set(refused)
    for path in {path for path in in_series if in_series.count(path) > 1}:
        owners = [series for series in discovery.series if path in {file.path for file in series.files}]
        assert all(len(series.files) == 1 for series in owners), "a file of one frame is in two series"
        assert len({series.stack for series in owners}) == len(owners)
    keys = [(series.key, series.stack) for series in discovery.series]
    assert len({key for key, _ in keys}) == len(keys), "two series of one key"


def check_privacy(messages: Iterable[str], root: Path) -> None:
    """No message carries an identifier or a path."""
    for message in messages:
        assert not [text for text in (*PRIVATE, str(root)) if text in message], message


def is_right(volume: Volume, truth: Truth, *, rtol: float = 0.0, atol: float = 0.0, millimetres: float = 1e-4) -> bool:
    """Whether voxels and affine are the known ones."""
    voxels, affine = truth
    expected = np.moveaxis(voxels, -1, 0) if voxels.ndim == 4 else voxels[np.newaxis]
    return (
        volume.voxels.shape == expected.shape
        and np.allclose(volume.voxels, np.asarray(expected, np.float64), rtol=rtol, atol=atol)
        and np.allclose(volume.geometry.matrix, affine, rtol=0, atol=millimetres)
    )


def assert_right(
    volume: Volume, truth: Truth, *, rtol: float = 0.0, atol: float = 0.0, millimetres: float = 1e-4
) -> None:
    """As :func:`is_right`, and says what differs."""
    voxels, affine = truth
    expected = np.moveaxis(voxels, -1, 0) if voxels.ndim == 4 else voxels[np.newaxis]
    np.testing.assert_allclose(volume.geometry.matrix, affine, rtol=0, atol=millimetres)
    assert volume.voxels.shape == expected.shape
    np.testing.assert_allclose(volume.voxels, np.asarray(expected, np.float64), rtol=rtol, atol=atol)


def assert_all_right(reading: Reading, truths: Sequence[Truth], **tolerances: float) -> None:
    """The volumes are the known ones, each once, in any order."""
    assert len(reading.volumes) == len(truths), (
        f"{len(reading.volumes)} volumes; {reading.codes} {reading.messages[:3]}"
    )
    if len(truths) == 1:
        assert_right(reading.volume, truths[0], **tolerances)
    left = list(truths)
    for series, volume in reading.volumes:
        match = [index for index, truth in enumerate(left) if is_right(volume, truth, **tolerances)]
        assert match, f"{series.key} is none of the known volumes"
        del left[match[0]]


def assert_refused(reading: Reading, *codes: Code) -> None:
    """Nothing is read, for one of these reasons; the other files of the series may be INCOMPLETE."""
    assert not reading.volumes, "read, and must not be"
    found = reading.codes - {Code.INCOMPLETE}
    assert found, "no reason given"
    assert found <= set(codes), f"{found}: {reading.messages[:3]}"


def assert_right_or_refused(reading: Reading, truths: Sequence[Truth], *codes: Code, **tolerances: float) -> None:
    """Never wrong voxels: the known volumes, or a refusal with one of these codes."""
    if reading.volumes:
        assert_all_right(reading, truths, **tolerances)
    else:
        assert_refused(reading, *codes)


def assert_reopens(series: Series, volume: Volume) -> None:
    """A series opened again by its files and stack, as from a manifest, is the same."""
    again = reopen(series.reader, series.files, series.stack, ReadOptions())
    assert again.key == series.key or again.files == series.files
    repeated = read(again, ReadOptions())
    np.testing.assert_array_equal(repeated.voxels, volume.voxels)
    assert repeated.geometry == volume.geometry
