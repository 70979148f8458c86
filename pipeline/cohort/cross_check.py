"""A second reading of some series by an independent reader: where it differs from ours, the series is refused."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from pipeline.config import Settings
from pipeline.domain.cells import raw_bytes
from pipeline.domain.codes import Code
from pipeline.domain.series import Series
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput, UsageError
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Load
from pipeline.readers.second_opinion import (
    Opinion,
    UnreadError,
    is_installed,
    load_library,
    second_opinion,
    unread_for_memory,
)

MILLIMETRES = 1e-3
"""Largest difference of an entry of the affines."""

ROUNDING = 1e-5
"""Largest difference of a voxel, as a part of the largest magnitude: float32 of ours against the numbers of ITK."""

LOSSY = 0.01
"""Largest mean difference of voxels, as a part of their range, where decoders may round."""

AGREES = "read again with SimpleITK, which agrees"
UNREAD = "not read again with SimpleITK: "
NOT_COMPARED = {
    "MENDED": "the slices were resampled to a straight grid",
    "a Modality LUT": "it applies no Modality LUT",
    "turned upright": "it leaves pictures as they lie in the file",
    "the alpha channel was dropped": "it keeps the alpha channel",
}
"""How notes of a volume begin that SimpleITK reads otherwise, by design, and why."""

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Checking:
    """Which series are read again, and how long a case may take.

    A worker that is given it loads SimpleITK before its memory is limited: no later series has less memory for it.

    Attributes
    ----------
    limit : int
        See :meth:`CrossCheckSettings.limit`.
    """

    limit: int = NOBODY
    seconds: float = math.inf

    def __reduce__(self) -> tuple[Callable[[int, float], "Checking"], tuple[int, float]]:
        """Unpickle as described."""
        return _in_worker, (self.limit, self.seconds)


def _in_worker(limit: int, seconds: float) -> Checking:
    if limit != NOBODY:
        load_library()
    return Checking(limit, seconds)


class CrossCheckSettings(Settings):
    """Whether some series are read a second time, by a reader that shares nothing with ours."""

    reader: Literal["", "simpleitk"] = Field(
        default="",
        description="`simpleitk` reads series a second time with SimpleITK (ITK and GDCM) and refuses those whose "
        "voxels or affine (1e-3 mm; single images: voxels alone) differ, with the code CROSS_CHECK; what it cannot "
        "read, or not within the memory and time of a case, is noted in its case. "
        'Needs `pip install "resdx[crosscheck]"`. Empty: no second reading.',
    )
    series: NonNegativeInt = Field(
        default=50,
        description="How many series are read again, drawn by their identifiers; 0 takes all. A second reading takes "
        "about three times as long as the first.",
    )

    def check(self) -> None:
        """Refuse what this installation cannot do.

        Raises
        ------
        UsageError
        """
        if self.reader and not is_installed():
            raise UsageError(
                "`cross_check.reader: simpleitk` needs SimpleITK, which is not installed.",
                'Install it: pip install "resdx[crosscheck]".',
            )

    def limit(self, series: Sequence[Series]) -> int:
        """Draw up to which a series is read again; see :func:`is_drawn`."""
        if not self.reader or not series:
            return NOBODY
        draws = sorted(_draw(one) for one in series)
        return draws[min(self.series or len(draws), len(draws)) - 1]


def is_drawn(series: Series, limit: int) -> bool:
    """Whether a series is among those that are read again."""
    return _draw(series) <= limit


def cross_checked(series: Series, volume: Volume, options: ReadOptions, load: Load, deadline: float = math.inf) -> str:
    """Read a series again and compare; return the note for its case.

    A series for which the second reader has no memory left, or no time until `deadline` (by `time.monotonic`), is not
    compared.

    Raises
    ------
    RejectedInput
        CROSS_CHECK: the readings differ.
    """
    if options.suv and volume.modality == "PT":
        return f"{UNREAD}it knows no standardized uptake values"
    for beginning, reason in NOT_COMPARED.items():
        if any(note.startswith(beginning) for note in volume.notes):
            return f"{UNREAD}{reason}"
    try:
        with unread_for_memory():
            fault = difference(volume, second_opinion(series, load, deadline))
    except UnreadError as error:
        return f"{UNREAD}{error}"
    if fault:
        raise RejectedInput(Code.CROSS_CHECK, f"SimpleITK reads it otherwise: {fault}")
    return AGREES


def difference(volume: Volume, other: Opinion) -> str:
    """Say in what a reading differs from ours; empty: in nothing."""
    ours = (volume.geometry.shape[2], volume.channels, *volume.geometry.shape[:2])
    if other.shape != ours:
        k, c, i, j = other.shape
        return f"{i} x {j} x {k} voxels of {c} channels, not {ours[2]} x {ours[3]} x {ours[0]} of {ours[1]}"
    order = range(ours[0])
    if other.matrix is not None:
        matrix = other.matrix
        if np.dot(matrix[:3, 2], volume.geometry.matrix[:3, 2]) < 0:  # the last slice first: the same volume
            order = order[::-1]
            matrix = matrix @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, len(order) - 1], [0, 0, 0, 1.0]])
        columns = [0, 1, 3] if volume.is_2d else [0, 1, 2, 3]
        apart = float(np.abs(matrix - volume.geometry.matrix)[:, columns].max())
        if apart > MILLIMETRES:
            return f"the affine differs by {apart:.4g} mm"
    return _voxel_difference(volume, order, other)


def lines(notes: Iterable[tuple[str, ...]], refused: int) -> tuple[str, ...]:
    """Say how many series were read again and what came of it, from the notes of series and a count of refusals."""
    told = [note for of_one in notes for note in of_one if note == AGREES or note.startswith(UNREAD)]
    agree = told.count(AGREES)
    if not told and not refused:
        return ()
    return (
        f"Cross-check: {agree + refused} series were read again with SimpleITK, {agree} agree, {refused} are refused "
        f"(CROSS_CHECK); {len(told) - agree} could not be read by it, which their cases note.",
    )


def _voxel_difference(volume: Volume, order: Sequence[int], other: Opinion) -> str:
    most = mean = 0.0
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    for k, place in enumerate(order):
        theirs = other.plane(place)
        ours = volume.voxels[:, :, :, k].astype(np.float64)
        if theirs.shape != ours.shape:
            return f"slice {k + 1} has another size"
        apart = np.abs(ours - theirs)
        if volume.valid is not None:
            apart = np.where(volume.valid[..., k], apart, 0.0)
        most, mean = max(most, float(apart.max())), mean + float(apart.mean()) / len(order)
    if other.is_rounded:
        return f"voxels differ by {mean:.4g} in the mean" if mean > LOSSY * (high - low) else ""
    return f"voxels differ by up to {most:.6g}" if most > ROUNDING * max(abs(low), abs(high)) else ""


def _draw(series: Series) -> int:
    return int.from_bytes(hashlib.sha256(raw_bytes(f"cross-check {series.key}")).digest()[:6], "big")
