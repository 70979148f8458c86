"""What every reader must do; a new file in the folder arrives under test and needs a sample here."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms.niftis import nifti, zipped
from phantoms.pictures import png
from pydicom.data import get_testdata_file

from pipeline.config import parts
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.opening import reader_of
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HEAD_BYTES, Reader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom comments on damaged headers

OPTIONS = ReadOptions(modality="CT", max_bytes=64 * 2**20)


def dicom_sample() -> bytes:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


SAMPLES: dict[str, Callable[[], bytes]] = {
    "dicom": dicom_sample,
    "nifti": lambda: zipped(nifti()),
    "picture": lambda: png(np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype("u1"), 2),
}
"""One whole file of each format that is a series of its own."""

READERS: dict[str, Reader] = {name: config().build() for name, config in parts("pipeline.readers")}  # type: ignore[attr-defined]


@pytest.fixture(params=sorted(READERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def source(content: bytes) -> SourceFile:
    return SourceFile(Path("/scans/sub/one"), "sub/one", len(content), hashlib.sha256(content).hexdigest())


def series_of(name: str, content: bytes) -> Series:
    reader = READERS[name]
    assembled = reader.assemble([reader.inspect(source(content), content, OPTIONS)], OPTIONS)
    assert not assembled.refusals
    (series,) = assembled.series
    return series


def read(name: str, content: bytes) -> Volume:
    return READERS[name].read(series_of(name, content), lambda file: content, OPTIONS)


def attempt(name: str, content: bytes) -> Volume | None:
    """Inspect, assemble and read damaged bytes; anything but a volume or a refusal is a failure."""
    reader = READERS[name]
    try:
        assembled = reader.assemble([reader.inspect(source(content), content, OPTIONS)], OPTIONS)
        for series in assembled.series:
            return reader.read(series, lambda file: content, OPTIONS)
    except RejectedInput as error:
        assert error.code in set(Code)
        assert "/scans" not in error.message
    return None


def test_every_reader_has_a_sample() -> None:
    assert set(READERS) == set(SAMPLES)


def test_it_claims_its_own_and_no_others(name: str) -> None:
    content = SAMPLES[name]()

    assert [other for other, reader in READERS.items() if reader.claims(content[:HEAD_BYTES])] == [name]
    assert reader_of(content[:HEAD_BYTES]) == name


def test_its_suffixes_are_lower_case_and_its_own(name: str) -> None:
    suffixes = READERS[name].suffixes

    assert suffixes and all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
    others = {suffix for other, reader in READERS.items() if other != name for suffix in reader.suffixes}
    assert not others & set(suffixes)


@pytest.mark.parametrize("junk", [b"", b"\0", b"\0" * 4096, b"just text, long enough\n" * 40, b"PK\3\4" + b"\0" * 400])
def test_it_claims_nothing_that_is_none(name: str, junk: bytes) -> None:
    assert not READERS[name].claims(junk[:HEAD_BYTES])


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=600))
def test_random_bytes_are_refused(junk: bytes) -> None:
    for name in READERS:
        assert attempt(name, junk) is None


def test_a_file_becomes_one_series_and_one_volume(name: str) -> None:
    content = SAMPLES[name]()

    series = series_of(name, content)
    volume = read(name, content)

    assert (series.reader, series.stack, [file.relative for file in series.files]) == (name, 0, ["sub/one"])
    assert series.key and series.modality == volume.modality == "CT"
    columns, rows, slices = volume.geometry.shape
    stated = {key: series.attributes[key] for key in ("columns", "rows", "slices", "plane")}
    assert stated == {
        "columns": str(columns),
        "rows": str(rows),
        "slices": str(slices),
        "plane": volume.geometry.plane.value,
    }
    spacing = [float(value) for value in series.attributes["spacing"].split("x")]
    np.testing.assert_allclose(spacing[:2], volume.geometry.spacing[:2], rtol=1e-3)
    assert np.isfinite(volume.voxels).all()


def test_reading_again_gives_the_same_and_shares_no_memory(name: str) -> None:
    content = SAMPLES[name]()

    first = read(name, content)
    second = read(name, content)

    np.testing.assert_array_equal(first.voxels, second.voxels)
    assert (first.geometry, first.notes) == (second.geometry, second.notes)
    first.voxels[...] = 0  # a caller may write into what is his
    np.testing.assert_array_equal(read(name, content).voxels, second.voxels)


def test_inspecting_changes_nothing_and_allocates_no_pixels(name: str) -> None:
    content = SAMPLES[name]()

    assert READERS[name].inspect(source(content), content, OPTIONS) is not None
    with pytest.raises(RejectedInput) as caught:
        tiny = ReadOptions(modality="CT", max_bytes=16)
        READERS[name].read(series_of(name, content), lambda file: content, tiny)
    assert caught.value.code == Code.TOO_LARGE


def test_a_file_cut_anywhere_is_refused_and_not_as_a_skip(name: str) -> None:
    content = SAMPLES[name]()
    for length in range(max(HEAD_BYTES // 4, len(content) // 3) % len(content), len(content), len(content) // 40 + 1):
        cut = content[:length]
        with pytest.raises(RejectedInput) as caught:
            read_or_raise(name, cut)
        assert Code(caught.value.code) not in SKIPS, length


def read_or_raise(name: str, content: bytes) -> Volume:
    """Read, raising for a refusal of the assembly as well."""
    reader = READERS[name]
    assembled = reader.assemble([reader.inspect(source(content), content, OPTIONS)], OPTIONS)
    for refusal in assembled.refusals:
        raise RejectedInput(refusal.code, refusal.message)
    return reader.read(assembled.series[0], lambda file: content, OPTIONS)


def test_damaged_bytes_end_in_a_volume_or_a_refusal(name: str) -> None:
    content = SAMPLES[name]()
    random = np.random.default_rng(17)
    for _ in range(150):
        damaged = bytearray(content)
        for position in random.integers(0, min(len(content), 2000), 3):
            damaged[position] = random.integers(0, 256)
        volume = attempt(name, bytes(damaged))
        assert volume is None or np.isfinite(volume.voxels).all()


def test_what_load_refuses_is_handed_on(name: str) -> None:
    series = series_of(name, SAMPLES[name]())

    def gone(file: SourceFile) -> bytes:
        raise RejectedInput(Code.CHANGED, "another file now", path=str(file.path))

    with pytest.raises(RejectedInput) as caught:
        READERS[name].read(series, gone, OPTIONS)
    assert (caught.value.code, caught.value.path) == (Code.CHANGED, "/scans/sub/one")
