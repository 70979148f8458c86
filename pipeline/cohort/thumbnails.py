"""NAME.thumbnails.npz: the thumbnail of every series of a manifest, by pseudonym, for the audit of near copies.

At 32 voxels a side they show no face and no text. One of a CT takes about 5 to 20 kB, of a 2D image less than 1 kB.
"""

import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.cohort.likeness import SIDE, perceptual_hash
from pipeline.cohort.tables import AGAIN, beside
from pipeline.domain.manifest import Manifest
from pipeline.errors import ManifestError

ENDING = "thumbnails.npz"
"""After NAME."""

FAST = 1
"""Level of compression: a higher one takes three times as long for a tenth less."""

SHAPES = {SIDE**2: (SIDE, SIDE), SIDE**3: (SIDE, SIDE, SIDE)}

LARGEST = 2 * SIDE**3
"""Bytes that an entry of the file may claim."""

Thumbnail = NDArray[np.uint8]


def packed(thumbnail: Thumbnail) -> bytes:
    """Thumbnail as a worker hands it over."""
    return zlib.compress(thumbnail.tobytes(), FAST)


class Spool:
    """Thumbnails of series that are being read, in an unnamed temporary file: memory does not grow with them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        self._places: dict[str, tuple[int, int]] = {}

    def keep(self, series: str, content: bytes) -> None:
        """Keep what :func:`packed` made of the series with this pseudonym."""
        self._places[series] = (self._file.seek(0, io.SEEK_END), len(content))
        self._file.write(content)

    def __call__(self, series: str) -> Thumbnail:
        """Thumbnail of a series."""
        place, length = self._places[series]
        self._file.seek(place)
        values = np.frombuffer(zlib.decompress(self._file.read(length)), np.uint8)
        return values.reshape(SHAPES[values.size])

    def save(self, manifest_path: Path, series: Iterable[str]) -> None:
        """Write NAME.thumbnails.npz of these series; the same series give the same bytes."""
        names = sorted(set(series) & self._places.keys())
        path = beside(manifest_path, ENDING)
        if names:
            atomic.write_with(path, lambda temporary: self._write(temporary, names))
        else:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, names: list[str]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST) as archive:
            for name in names:
                content = io.BytesIO()
                np.save(content, self(name), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the hour of an ingest is no part of it
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content.getvalue(), compresslevel=FAST)


class KeptThumbnails:
    """Thumbnails of a manifest on disk, each read when it is asked for and checked by the hash in the manifest."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._hashes = {one.series: one.likeness for case in manifest.cases for one in case.series}
        try:
            self._archive = zipfile.ZipFile(path)
        except OSError as error:
            message = f"{path}, which the audit of leaks needs, cannot be read: {error.strerror}."
            raise ManifestError(message, f"Put it beside the manifest. {AGAIN}") from error
        except zipfile.BadZipFile as error:
            raise ManifestError(f"{path} is damaged.", AGAIN) from error

    def __call__(self, series: str) -> Thumbnail:
        """Thumbnail of a series by its pseudonym.

        Raises
        ------
        ManifestError
            The file is damaged or belongs to another manifest.
        """
        try:
            entry = self._archive.getinfo(f"{series}.npy")
            if entry.file_size > LARGEST:
                raise ValueError("an entry is too large")
            found: Thumbnail = np.load(io.BytesIO(self._archive.read(entry)), allow_pickle=False)
        except (KeyError, ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise ManifestError(f"{self._path} is damaged, or of another manifest: {series}.", AGAIN) from error
        if found.dtype != np.uint8 or found.shape not in SHAPES.values():
            raise ManifestError(f"{self._path} is damaged: {series}.", AGAIN)
        if perceptual_hash(found) != self._hashes.get(series):
            raise ManifestError(f"{self._path} does not belong to the manifest: {series} is another image.", AGAIN)
        return found


def kept_thumbnails(manifest_path: Path, manifest: Manifest) -> KeptThumbnails | None:
    """Thumbnails beside a manifest; None where it was made before there were any.

    Raises
    ------
    ManifestError
        The file is missing or damaged.
    """
    if not any(one.likeness for case in manifest.cases for one in case.series):
        return None
    return KeptThumbnails(beside(manifest_path, ENDING), manifest)
