"""Small pictures of the middle slices, by which a reviewer sees at a glance what was read.

They are made in the worker that reads the series and hold no text. An image into whose pixels text about the patient
may be burned has none (PS3.15 E.3.1): there a picture would show what the page promises to leave out.
"""

import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, NonNegativeInt

from pipeline.config import Settings
from pipeline.domain.case import Case
from pipeline.domain.cells import raw_bytes
from pipeline.domain.series import PICTURE, Series
from pipeline.domain.volume import Volume

SIDE = 96
"""Pixels of the longer side, at most."""

TAILS = (0.5, 99.5)
"""Percentiles of the valid voxels of the slice that become black and white."""

QUALITY = 85
"""Of the JPEG: a preview takes about 3 kB."""

SPARE = 3
"""Times as many are made as are shown: only after reading is it known which split a case is in."""


class PreviewSettings(Settings):
    """Pictures on the page of a cohort."""

    count: NonNegativeInt = Field(
        default=240,
        description="Middle slices shown on NAME.html, dealt evenly to the splits; each takes about 4 kB. 0 shows "
        "none. Images that may have text burned in (ultrasound, secondary captures, photographs) are never shown.",
    )

    def share(self, series: int) -> float:
        """Part of so many series that a preview is made of, 0 to 1."""
        return min(1.0, SPARE * self.count / series) if series else 0.0


def is_shown(series: Series, share: float) -> bool:
    """Whether a preview is made of a series: no text may be burned in, and its turn comes.

    Pictures are left out as a whole: nothing in a PNG says that it is no photograph of a screen. The turn is drawn from
    the key of the series, so the same scans show the same previews.
    """
    if series.reader == "picture" or series.modality in PICTURE or series.attributes.get("burned_in"):
        return False
    drawn = int.from_bytes(hashlib.sha256(raw_bytes(series.key)).digest()[:4], "big")
    return drawn < share * 2**32


def preview(volume: Volume) -> bytes:
    """JPEG of the middle slice as a radiologist sees it, grey or RGB, at most :data:`SIDE` pixels, which are square.

    Axial and coronal slices have the patient's right on the left; sagittal ones have anterior on the left; superior
    (axial: anterior) is on top. Single images stay as they are stored. Padding is black.
    """
    middle = volume.geometry.shape[2] // 2
    colour = 3 if volume.channels == 3 else 1
    voxels = volume.voxels[:colour, :, :, middle]
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(voxels).all(axis=0))
    if volume.valid is not None:
        valid &= volume.valid[:, :, middle]
    grey = _windowed(voxels, valid)
    grey, spacing = _as_seen(grey, volume)
    pixels = grey.transpose(1, 2, 0) if colour == 3 else grey[0]
    extent = (grey.shape[2] * spacing[1], grey.shape[1] * spacing[0])  # width, height
    scale = min(SIDE / max(extent), 1 / min(spacing))
    width, height = (max(1, round(length * scale)) for length in extent)
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def chosen(cases: Sequence[Case], previews: Mapping[str, bytes], count: int, first: Collection[str] = ()) -> list[Case]:
    """Cases whose previews are shown: at most `count`, the splits in turn, grouped by split.

    Parameters
    ----------
    previews : mapping of str to bytes
        By pseudonym of the case.
    first : collection of str, optional
        Pseudonyms of the cases that are shown before others.
    """
    splits: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.case not in first):
        if previews.get(case.case):
            splits.setdefault(str(case.split or ""), []).append(case)
    dealt = [case for case in chain.from_iterable(zip_longest(*splits.values())) if case is not None][:count]
    order = {name: number for number, name in enumerate(("train", "validation", "test", ""))}
    return sorted(dealt, key=lambda case: (order[str(case.split or "")], case.case))


def _windowed(voxels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey values 0 to 255, shape (c, i, j)."""
    if not valid.any():
        return np.zeros(voxels.shape, np.uint8)
    low, high = (float(value) for value in np.percentile(voxels[:, valid], TAILS))
    if high <= low:
        low, high = float(voxels[:, valid].min()), float(voxels[:, valid].max())
    width = high - low or 1.0
    scaled = np.clip((np.where(valid, voxels, low) - low) / width, 0.0, 1.0)
    return np.rint(255.0 * scaled).astype(np.uint8)


def _as_seen(image: NDArray[np.uint8], volume: Volume) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Turn (c, i, j) to (c, row, column) of the screen; return it with the spacing of rows and of columns."""
    di, dj, _ = volume.geometry.spacing
    if volume.is_2d:
        return image.transpose(0, 2, 1), (dj, di)
    world_of = {axis: (world, sign) for world, (axis, sign) in enumerate(volume.geometry.orientation())}
    for axis in (0, 1):
        if world_of[axis][1] > 0:  # towards right, anterior or superior: those are on the left and on top
            image = np.flip(image, axis + 1)
    if world_of[0][0] < world_of[1][0]:  # i runs along the screen's columns
        return image.transpose(0, 2, 1), (dj, di)
    return image, (di, dj)
