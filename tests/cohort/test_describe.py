"""What the manifest says of a series that was read."""

from pathlib import Path

import pytest
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import CORONAL, make_voxels, write_series

from pipeline.cohort.describe import describe
from pipeline.domain.geometry import Plane, Unit
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions


@pytest.mark.parametrize("modality", ["MG", "DX", "US"])
def test_a_projection_lies_in_no_plane(tmp_path: Path, modality: str) -> None:
    image = make_voxels((6, 5, 1))[:, :, 0]
    write_radiograph(tmp_path / "a.dcm", image, modality=modality, spacing_tag="PixelSpacing")
    (series,) = discover(tmp_path, ReadOptions()).series
    summary = describe(series, ReadOptions())
    assert (summary.unit, summary.plane) == (Unit.MM, Plane.NONE)


@pytest.mark.parametrize("slices", [1, 4])
def test_slices_lie_in_their_plane(tmp_path: Path, slices: int) -> None:
    write_series(tmp_path, make_voxels((6, 5, slices)), orientation=CORONAL)
    (series,) = discover(tmp_path, ReadOptions()).series
    assert describe(series, ReadOptions()).plane is Plane.CORONAL
