"""A volume is filled file by file, whatever order the files come in, and only if they still are what was discovered."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_series import expected_affine, make_voxels, write_series
from phantoms.readings import assert_right
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import Series
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

SHAPE = (6, 5, 4)
PADDING = -2000


def padded(dataset: Dataset, k: int) -> None:
    """Slice 1 alone has padding, in its first pixel."""
    dataset.PixelPaddingValue = PADDING
    if k == 1:
        dataset.PixelData = np.int16(PADDING).tobytes() + dataset.PixelData[2:]


def discovered(folder: Path) -> Series:
    """The series, without digests and times by which a changed file would be known."""
    (series,) = discover(folder, ReadOptions()).series
    return replace(series, files=tuple(replace(file, sha256="", modified_ns=None) for file in series.files))


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_order_in_which_files_are_named_changes_nothing(tmp_path: Path, order: tuple[int, ...]) -> None:
    stored = make_voxels(SHAPE, dtype=np.int16)
    write_series(tmp_path, stored, edit=padded)
    series = discovered(tmp_path)
    volume = read(replace(series, files=tuple(series.files[place] for place in order)), ReadOptions())
    stored[0, 0, 1] = PADDING
    assert_right(volume, (stored, expected_affine()))
    assert volume.valid is not None
    assert np.argwhere(~volume.valid).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("shape", [(5, 6, 4), (6, 7, 4)])
def test_a_file_that_has_become_another_image(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    paths = write_series(tmp_path / "a", make_voxels(SHAPE))
    series = discovered(tmp_path / "a")
    others = write_series(tmp_path / "b", make_voxels(shape))
    paths[2].write_bytes(others[2].read_bytes())
    with pytest.raises(RejectedInput) as refused:
        read(series, ReadOptions())
    assert refused.value.code == Code.CHANGED


def test_files_that_now_make_two_series(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", make_voxels(SHAPE))
    series = discovered(tmp_path / "a")
    moved = write_series(tmp_path / "b", make_voxels(SHAPE), position=(0, 0, 50))
    paths[3].write_bytes(moved[3].read_bytes())
    with pytest.raises(RejectedInput) as refused:
        read(series, ReadOptions())
    assert refused.value.code == Code.CHANGED


def test_a_file_that_has_become_a_copy_of_another(tmp_path: Path) -> None:
    """Copies are set aside; what is left is a slice short, and looks like a whole series."""
    paths = write_series(tmp_path, make_voxels(SHAPE))
    series = discovered(tmp_path)
    paths[3].write_bytes(paths[2].read_bytes())
    with pytest.raises(RejectedInput) as refused:
        read(series, ReadOptions())
    assert refused.value.code == Code.CHANGED


def test_a_volume_beyond_the_limit_is_refused_before_there_is_room_for_it(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE))
    series = discovered(tmp_path)
    size = 4 * np.prod(SHAPE)
    with pytest.raises(RejectedInput) as refused:
        read(series, ReadOptions(max_bytes=int(size) - 1))
    assert refused.value.code == Code.TOO_LARGE
    read(series, ReadOptions(max_bytes=int(size)))


def test_files_are_let_go_one_by_one(tmp_path: Path) -> None:
    """Never the files of a series beside its volume: together they would be half as large again."""
    write_series(tmp_path, make_voxels((256, 256, 30), dtype=np.int16))
    series = discovered(tmp_path)
    read(series, ReadOptions())  # imports and caches
    tracemalloc.start()
    volume = read(series, ReadOptions())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    files = sum(file.size for file in series.files)
    assert peak < volume.voxels.nbytes + files / 3
