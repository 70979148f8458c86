"""What every writer of volumes must do, with an independent reader of its format as oracle."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.config import parts
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.volume import Volume
from pipeline.errors import DiskFull
from pipeline.writers.volumes import VolumeWriter

Read = Callable[[Path], tuple[np.ndarray, np.ndarray]]
"""Voxels (c, i, j, k) and affine of an image file."""


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[name] for name in data.dtype.names])
    elif data.ndim == 5:
        data = np.moveaxis(data[:, :, :, 0], 3, 0)
    else:
        data = data[np.newaxis]
    return data.reshape((*data.shape, 1)[:4]), image.affine


ORACLES: dict[str, Read] = {"nifti": read_nifti}
"""Every writer of volumes to a reader that is not ours."""

WRITERS: dict[str, VolumeWriter] = {
    name: built
    for name, config in parts("pipeline.writers")
    if hasattr(built := config().build(), "suffixes")  # type: ignore[attr-defined]
}
RANDOM = np.random.default_rng(11)
AFFINE = np.array([[-0.7, 0, 0.1, 80.25], [0, -0.7, 0.02, 60.5], [-0.1, 0.02, 2.5, -300.125], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * [0.7, 0.8, 2.5]


def volume_of(voxels: np.ndarray, unit: Unit = Unit.MM) -> Volume:
    affine = AFFINE if unit is Unit.MM else np.eye(4)
    return Volume(
        voxels.astype(np.float32), Geometry.from_matrix(voxels.shape[1:], affine, unit), "CT", notes=("straße",)
    )


VOXELS = {
    "whole numbers": RANDOM.integers(-1024, 3000, (1, 5, 4, 3)),
    "the ends of 16 bits": np.array([-32768, 0, 1, 32767]).reshape(1, 4, 1, 1),
    "beyond 16 bits": np.array([0, 1, 2, 32768]).reshape(1, 4, 1, 1),
    "fractions": RANDOM.normal(0, 1, (1, 5, 4, 3)),
    "colour": RANDOM.integers(0, 256, (3, 5, 4, 1)),
    "deep colour": RANDOM.integers(0, 65536, (3, 5, 4, 1)),
    "two channels": RANDOM.integers(-5, 300, (2, 5, 4, 3)),
    "a long side": RANDOM.integers(0, 9, (1, 40000, 2, 1)),
}


@pytest.fixture(params=sorted(WRITERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_writer_of_volumes_has_an_oracle() -> None:
    assert set(WRITERS) == set(ORACLES)


@pytest.mark.parametrize("kind", VOXELS)
def test_an_independent_reader_sees_the_same_voxels_at_the_same_place(name: str, kind: str, tmp_path: Path) -> None:
    volume = volume_of(VOXELS[kind])

    image, sidecar = WRITERS[name].write(tmp_path / "new" / "S1.x", volume, {"digest": "d"})

    voxels, affine = ORACLES[name](image)
    np.testing.assert_array_equal(voxels.astype(np.float32), volume.voxels)
    np.testing.assert_allclose(affine, AFFINE, rtol=0, atol=1e-4)
    assert [path.name for path in (image, sidecar)] == [f"S1.x{suffix}" for suffix in WRITERS[name].suffixes]
    assert sorted(path.name for path in image.parent.iterdir()) == sorted([image.name, sidecar.name])


def test_the_facts_stand_beside_it(name: str, tmp_path: Path) -> None:
    volume = volume_of(VOXELS["whole numbers"])

    _, sidecar = WRITERS[name].write(tmp_path / "S1", volume, {"digest": "abc", "stack": 2})

    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    assert (
        facts.items()
        >= {
            "modality": "CT",
            "shape": [5, 4, 3],
            "channels": 1,
            "unit": "mm",
            "plane": volume.geometry.plane.value,
            "minimum": float(volume.voxels.min()),
            "maximum": float(volume.voxels.max()),
            "notes": ["straße"],
            "digest": "abc",
            "stack": 2,
            "padding_voxels": 0,
        }.items()
    )
    np.testing.assert_array_equal(facts["affine"], AFFINE)
    np.testing.assert_allclose(facts["spacing"], [0.7, 0.8, 2.5])


def test_equal_volumes_give_equal_bytes(name: str, tmp_path: Path) -> None:
    ways = [np.ascontiguousarray, np.asfortranarray]
    written = [
        WRITERS[name].write(tmp_path / str(number), volume_of(way(VOXELS["fractions"])), {})
        for number, way in enumerate(ways)
    ]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_failure_leaves_the_old_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = WRITERS[name].write(tmp_path / "S1", volume_of(VOXELS["fractions"]), {})
    before = [path.read_bytes() for path in paths]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.atomic._fsync", full)
    with pytest.raises(DiskFull, match="No space"):
        WRITERS[name].write(tmp_path / "S1", volume_of(VOXELS["colour"]), {})
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_nifti_says_scanner_coordinates_in_millimetres_and_nothing_of_pictures(tmp_path: Path) -> None:
    placed, _ = WRITERS["nifti"].write(tmp_path / "a", volume_of(VOXELS["whole numbers"]), {})
    picture, _ = WRITERS["nifti"].write(tmp_path / "b", volume_of(VOXELS["colour"], Unit.PIXEL), {})

    for path, code, unit in ((placed, 1, "mm"), (picture, 0, "unknown")):
        header = nib.load(path).header
        assert (int(header["qform_code"]), int(header["sform_code"]), header.get_xyzt_units()[0]) == (code, code, unit)
    np.testing.assert_allclose(nib.load(placed).get_qform(), AFFINE, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "dtype"), [("whole numbers", "int16"), ("beyond 16 bits", "float32")])
def test_nifti_takes_the_smaller_type_only_where_nothing_is_lost(tmp_path: Path, kind: str, dtype: str) -> None:
    image, _ = WRITERS["nifti"].write(tmp_path / "a", volume_of(VOXELS[kind]), {})

    assert nib.load(image).get_data_dtype() == np.dtype(dtype)
