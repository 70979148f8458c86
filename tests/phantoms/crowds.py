"""A folder of very many small files, some of them bad, and what must become of each."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
from phantoms.dicom_series import Identity, write_series
from phantoms.niftis import nifti, zipped

SLICES = 20


def write_crowd(folder: Path, files: int, size: int = 32) -> Counter[str]:
    """Write `files` files, CT series of 20 slices and one bad file among twenty; return how many end how.

    The bad ones are rejected or skipped for what they are, in the names that ``Counts`` has: they ruin no series.
    """
    rng = np.random.default_rng(0)
    ends: Counter[str] = Counter()
    bad = _bad_files(folder / "bad")
    for number in count(1):
        room = files - ends.total()
        if room < SLICES + 1:
            break
        pixels = rng.integers(0, 1000, (size, size, SLICES)).astype(np.int16)
        write_series(folder / f"{number:05d}", pixels, identity=Identity.numbered(number))
        ends["used"] += SLICES
        ends[next(bad)] += 1
    ends.update(islice(bad, files - ends.total()))
    return ends


def _bad_files(folder: Path) -> Iterator[str]:
    """Write one bad file after another; tell how it must end."""
    folder.mkdir(parents=True)
    (slice_,) = write_series(folder / "template", np.ones((32, 32, 1), np.int16))
    image = slice_.read_bytes()
    slice_.unlink()
    slice_.parent.rmdir()
    kinds: list[tuple[str, str, Callable[[int], bytes]]] = [
        ("rejected", "{}.dcm", lambda _: b""),
        ("rejected", "{}.dcm", lambda _: b"a text that someone named so"),
        ("rejected", "{}", lambda n: _of_its_own(image, n)[:-100]),
        ("rejected", "{}.nii.gz", lambda _: zipped(nifti())[:-20] + bytes(20)),
        ("skipped", "Thumbs{}.db", lambda _: b"\xd0\xcf\x11\xe0" * 100),
        ("rejected", "{}.dcm", lambda n: _of_its_own(image, n)[:700]),
        ("rejected", "{}.png", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(40)),
    ]
    for number in count():
        end, name, content = kinds[number % len(kinds)]
        (folder / name.format(f"{number:05d}")).write_bytes(content(number))
        yield end


def _of_its_own(image: bytes, number: int) -> bytes:
    """Give the image a study and a series of its own, by UIDs of the same length."""
    who = Identity()
    own = f"{number:05d}".translate(str.maketrans("0123456789", "3456789123"))
    return image.replace(who.study_uid.encode(), who.study_uid[: -len(own)].encode() + own.encode())
