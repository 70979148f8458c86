"""A heatmap file lies over its scan in a reader that is not ours."""

from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.domain.geometry import Geometry, Unit
from pipeline.writers.heatmaps import write_heatmap

AFFINE = np.array([[0.0, 0.8, 0.0, -20.0], [-0.7, 0.0, 0.0, 30.0], [0.0, 0.0, 3.0, 100.0], [0.0, 0.0, 0.0, 1.0]])


def test_an_independent_reader_sees_it_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    heat = np.random.default_rng(2).uniform(0, 1, (5, 6, 4)).astype(np.float32)
    path = tmp_path / "new" / "C1.lesion.nii.gz"

    write_heatmap(path, heat, Geometry.from_matrix(heat.shape, AFFINE))

    image = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), heat)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert image.header["qform_code"] == image.header["sform_code"] == 1
    assert list(path.parent.iterdir()) == [path]


def test_no_heat_and_single_images_are_written_too_and_equal_heat_gives_equal_bytes(tmp_path: Path) -> None:
    flat = Geometry.from_matrix((7, 3, 1), np.eye(4), Unit.PIXEL)
    for name in ("a", "b"):
        write_heatmap(tmp_path / f"{name}.nii.gz", np.zeros((7, 3, 1), np.float32), flat)

    assert not np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj).any()
    assert nib.load(tmp_path / "a.nii.gz").header["sform_code"] == 0
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
