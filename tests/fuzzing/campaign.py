"""Read mutants as the verbs do, in processes with limits, and ask the oracles about every one that is accepted."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fuzzing import oracles
from fuzzing.mutants import mutant
from fuzzing.oracles import Frame
from numpy.typing import NDArray
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Unit
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.workers import imap

OPTIONS = ReadOptions(modality="CT")
"""Modality of what does not say it."""

SECONDS, MEMORY_BYTES = 10.0, 512 * 1024**2
"""Longest that a mutant may take, and the memory it may take beyond an idle process."""

META_BYTES = 400
"""Where the transfer syntax of a seed stands."""

JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
"""Damaged, GDCM, the only other decoder of most of it here, refuses much that libjpeg-turbo decodes with a warning that
nobody hears. Where it does, and the place is right, voxels are not judged."""

LOSSY = (b"\xff\xc0\0", b"\xff\xc1\0")
"""Frame headers of lossy JPEG (ITU-T T.81 B.1.1.3). Damaged, libjpeg-turbo and the older libjpeg of GDCM clip values in
different ways: such voxels are not judged either."""

NEAR_LEVELS = 2.0
"""Lossy colour differs by rounding from decoder to decoder."""

NEAR_VOXELS = 0.1
"""Largest displacement of a corner, as a part of the smallest spacing: positions are rounded in real files."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One volume that was read, and the files that it is of."""

    names: tuple[str, ...]
    volume: Volume


@dataclass(frozen=True, slots=True)
class Attempt:
    """What reading a mutant came to.

    Attributes
    ----------
    parsed : bool
        Whether a changed file has got past its header into a series.
    """

    number: int
    parsed: bool
    codes: tuple[str, ...]
    accepted: tuple[Accepted, ...]


@dataclass
class Verdicts:
    """Counts over a campaign, and what must not be."""

    mutants: int = 0
    parsed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def run(numbers: Sequence[int], processes: int = 2, *, thorough: bool = True) -> Verdicts:
    """Read mutants and judge them.

    Parameters
    ----------
    thorough : bool
        Whether SimpleITK is asked about every DICOM file, not only where pydicom does not confirm the volume: it takes
        longer than all the rest.
    """
    verdicts = Verdicts(mutants=len(numbers))
    limits = {"processes": processes, "timeout_seconds": SECONDS, "memory_bytes": MEMORY_BYTES}
    attempts: list[Attempt] = []
    for number, outcome in zip(numbers, imap(attempt, numbers, **limits), strict=True):
        if outcome.value is None:
            assert outcome.error is not None
            verdicts.failures.append(_line(number, f"{outcome.error.code}: {outcome.error.message}"))
            continue
        verdicts.parsed += outcome.value.parsed
        verdicts.refused.update(set(outcome.value.codes) - {Code.INCOMPLETE})
        if Code.INTERNAL in outcome.value.codes:
            verdicts.failures.append(_line(number, "INTERNAL"))
        if outcome.value.accepted:
            attempts.append(outcome.value)
    for known, outcome in zip(attempts, imap(partial(judge, thorough=thorough), attempts, **limits), strict=True):
        found = outcome.value or f"WRONG: the oracle failed ({outcome.error})"
        verdicts.confirmed[found.partition(":")[0]] += 1
        if found.startswith("WRONG"):
            verdicts.failures.append(_line(known.number, found))
    return verdicts


def attempt(number: int) -> Attempt:
    """Discover and read one mutant, in a folder of its own."""
    made = mutant(number)
    codes: list[str] = []
    accepted: list[Accepted] = []
    with TemporaryDirectory() as folder:
        for name, content in made.files.items():
            (Path(folder) / name).write_bytes(content)
        discovery = discover(Path(folder), OPTIONS, digests=False)
        codes += [str(refusal.code) for refusal in discovery.refusals]
        for series in discovery.series:
            try:
                volume = read(series, OPTIONS)
            except RejectedInput as error:
                codes.append(str(error.code))
                if "than a worker may take" in error.message:
                    raise MemoryError from error
            else:
                accepted.append(Accepted(tuple(file.relative for file in series.files), volume))
    in_series = {file.relative for series in discovery.series for file in series.files}
    return Attempt(number, bool(in_series & made.changed), tuple(codes), tuple(accepted))


def judge(known: Attempt, thorough: bool) -> str:
    """Compare what was accepted with what the oracles read: who confirms it, or ``WRONG: why``."""
    _be_quiet()
    made = mutant(known.number)
    found = []
    for one in known.accepted:
        files, sound = ({name: source[name] for name in one.names} for source in (made.files, made.sound))
        found.append(_judged(files, sound, one.volume, thorough))
    return min(found, key=lambda verdict: not verdict.startswith("WRONG"))


def _judged(files: Mapping[str, bytes], sound: Mapping[str, bytes], volume: Volume, thorough: bool) -> str:
    first = next(iter(files.values()))
    if first[:3] == b"\xff\xd8\xff" or first[:4] == b"\x89PNG":
        return _picture(first, volume)
    if first[128:132] == b"DICM" or first[:2] in (b"\x08\0", b"\x02\0"):
        return _dicom(files, sound, volume, thorough)
    return _nifti(first, volume)


def _dicom(files: Mapping[str, bytes], sound: Mapping[str, bytes], volume: Volume, thorough: bool) -> str:
    """Who confirms a volume: each slice must lie where some frame does, and hold its voxels.

    Place comes from the strict formulas alone, for SimpleITK makes up what is missing. Where pydicom cannot decode,
    voxels may also be those of the scan before it was damaged.
    """
    strict = _asked(oracles.by_pydicom, files)
    wanted = thorough or isinstance(strict, str) or not all(_is_read(strict, volume, k) for k in _slices(volume))
    lenient = _asked(oracles.by_simpleitk, files) if wanted else "not asked"
    if isinstance(strict, str):
        whole = oracles.by_pydicom(sound)
        if all(_is_read(whole, volume, k) for k in _slices(volume)):
            return "confirmed by the sound scan"
    if isinstance(strict, str) and isinstance(lenient, str):
        return f"WRONG: no oracle reads it ({strict}, {lenient})"
    places = [*lenient, *oracles.by_pydicom(sound)] if isinstance(strict, str) else strict
    who = set()
    for k in _slices(volume):
        if not any(_is_placed(frame, volume, k) for frame in places):
            return f"WRONG: slice {k} is in another place"
        by = [
            name
            for name, frames in (("SimpleITK", lenient), ("pydicom", strict))
            if not isinstance(frames, str) and _is_read(frames, volume, k)
        ]
        refuses = not isinstance(strict, str) and any(isinstance(frame.pixels, str) for frame in strict)
        if not by and refuses:
            by = ["the sound scan"] * any(_are_equal(frame.pixels, volume, k) for frame in oracles.by_pydicom(sound))
        if not by and (_is_lossy(files) or (refuses and _is_of(files, JPEG))):
            return "not judged, damaged JPEG"
        if not by:
            why = [str(one) for one in (strict, lenient) if isinstance(one, str)]
            why += [str(one.pixels) for one in strict if not why and isinstance(one.pixels, str)]
            return f"WRONG: slice {k} has other voxels {'; '.join(why)}"
        who.add("confirmed by " + " and ".join(by))
    return min(who, key=len)  # the weakest


def _is_of(files: Mapping[str, bytes], syntaxes: Sequence[str]) -> bool:
    return any(uid.encode() in content[:META_BYTES] for uid in syntaxes for content in files.values())


def _is_lossy(files: Mapping[str, bytes]) -> bool:
    return any(marker in content for marker in LOSSY for content in files.values())


def _slices(volume: Volume) -> range:
    return range(volume.voxels.shape[3])


def _is_read(frames: Sequence[Frame], volume: Volume, k: int) -> bool:
    """Whether slice k has the place and the voxels of some frame."""
    return any(_is_placed(frame, volume, k) and _are_equal(frame.pixels, volume, k) for frame in frames)


def _is_placed(frame: Frame, volume: Volume, k: int) -> bool:
    """Whether the corners of slice k lie where the oracle has those of the frame."""
    matrix = volume.geometry.matrix
    if volume.geometry.unit is Unit.PIXEL:
        return frame.across is None or frame.origin is not None
    if frame.across is None or frame.down is None:
        return False
    origin = np.zeros(3) if frame.origin is None else frame.origin
    i, j = volume.voxels.shape[1] - 1, volume.voxels.shape[2] - 1
    limit = NEAR_VOXELS * min(volume.geometry.spacing)
    for a, b in ((0, 0), (i, 0), (0, j), (i, j)):
        ours = (matrix @ [a, b, k, 1])[:3]
        if np.linalg.norm(origin + a * frame.across + b * frame.down - ours) > limit:
            return False
    if volume.voxels.shape[3] == 1 and frame.thickness is not None and frame.origin is not None:
        return bool(abs(np.linalg.norm(matrix[:3, 2]) - frame.thickness) < limit)
    return True


def _are_equal(pixels: NDArray[Any] | str, volume: Volume, k: int) -> bool:
    """Whether (rows, columns[, 3]) are the voxels (c, i, j) of slice k."""
    ours = volume.voxels[..., k]
    if isinstance(pixels, str):
        return False
    theirs = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[np.newaxis]
    theirs = theirs.transpose(0, 2, 1)
    if theirs.shape != ours.shape:
        return False
    near = NEAR_LEVELS if len(ours) == 3 else 1e-3
    return bool(np.allclose(ours, theirs, rtol=1e-6, atol=near))


def _nifti(content: bytes, volume: Volume) -> str:
    for name, oracle in (("nibabel", oracles.volume_by_nibabel), ("SimpleITK", oracles.volume_by_simpleitk)):
        found = _asked(oracle, content)
        if isinstance(found, str):
            continue
        voxels, affine = found
        if not np.allclose(affine, volume.geometry.matrix, rtol=1e-4, atol=1e-3):
            return f"WRONG: another affine than {name}"
        theirs = voxels.reshape((*voxels.shape, 1, 1)[:3])
        if len(volume.voxels) > 1 or not np.allclose(theirs, volume.voxels[0], rtol=1e-6, atol=1e-6):
            return f"WRONG: other voxels than {name}"
        return f"confirmed by {name}"
    return "WRONG: no oracle reads it"


def _picture(content: bytes, volume: Volume) -> str:
    found = _asked(oracles.picture, content)
    if isinstance(found, str):
        return f"WRONG: no oracle reads it ({found})"
    return "confirmed by imagecodecs" if _are_equal(found, volume, 0) else "WRONG: other samples"


def _asked(oracle: Callable[[Any], Any], question: Any) -> Any:
    """What an oracle answers, or the name of what it raises."""
    try:
        return oracle(question)
    except Exception as error:  # noqa: BLE001 - whatever it raises, it does not confirm
        return f"{type(error).__name__} {error}"[:200]


def _be_quiet() -> None:
    """GDCM writes to the standard error of the process, whatever it is asked."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _line(number: int, text: str) -> str:
    return f"{number} {mutant(number).what}: {text}"
