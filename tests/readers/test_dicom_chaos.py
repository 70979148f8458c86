"""Series thrown together at random: whatever comes out as a volume has each slice once, and where its file puts it.

The oracle is the header of each file, looked up by the pixels that came out: nothing of how series are made is repeated
here. `pytest -m long` throws many more.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from phantoms.dicom_enhanced import Frame, write_enhanced
from phantoms.dicom_series import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Identity,
    Orientation,
    decimals,
    make_image,
    make_voxels,
    save,
)
from phantoms.readings import Reading, read_folder
from pydicom.dataset import Dataset

ROWS_COLUMNS = (5, 4)
LPS = np.diag([-1.0, -1.0, 1.0])
PLACE_MM = 2e-3

TELLING = {
    "EchoTime": ("4.6", "9.2", "13.8"),
    "DiffusionBValue": (0.0, 500.0, 1000.0),
    "ConvolutionKernel": ("B30f", "B50f", "B70f"),
    "InversionTime": ("100", "200", "300"),
    "TemporalPositionIdentifier": (1, 2, 3),
    "ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"], ["ORIGINAL", "PRIMARY", "R"]),
    "KVP": ("80", "100", "120"),
    "AcquisitionNumber": (1, 2, 3),
    "AcquisitionTime": ("101500", "111500", "121500"),
    "": (None, None, None),
}
"""What may tell the parts of a series apart, with a value for each part; the last tells nothing."""

NEVER_MIXED = ("EchoTime", "DiffusionBValue", "ConvolutionKernel")
NOTED = ("InversionTime", "TemporalPositionIdentifier", "ImageType")
"""Parts that differ in one of these are one volume only where they adjoin, and then with a note."""


@dataclass(frozen=True)
class Source:
    """Where a slice lies by its file, LPS+, and which part of the series it belongs to."""

    part: int
    position: NDArray[np.float64]
    orientation: Orientation


@dataclass
class Chaos:
    """A series of one to three parts, with what may be wrong with each."""

    random: Generator
    telling: str = ""
    sources: dict[bytes, Source] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        modality = self._one_of("CT", "MR", "PT")
        self.telling = self._one_of(*TELLING)
        base = self._one_of(1.0, 2.0, 2.5)
        stated, thickness = self._one_of(None, None, 1.0, 2.0, 0.5, 1.3), self._one_of(1.0, 1.0, 1.0, 2.0, 0.5)
        is_enhanced = modality != "PT" and self.telling in ("", "EchoTime", "TemporalPositionIdentifier")
        is_enhanced = is_enhanced and self.random.random() < 0.5
        frames: list[Frame] = []
        for part in range(self._one_of(1, 1, 2, 2, 3)):
            for number, (pixels, source) in enumerate(self._part(part, base)):
                if is_enhanced:
                    frames.append(self._frame(pixels, source))
                    continue
                dataset = self._image(pixels, source, modality, f"{part}/{number}")
                dataset.SliceThickness = decimals([thickness * base])[0]
                if stated:
                    dataset.SpacingBetweenSlices = decimals([stated * base])[0]
                path = save(dataset, folder / f"{self.random.integers(10**9)}.dcm")
                if self.random.random() < 0.05:
                    (folder / f"copy of {path.name}").write_bytes(path.read_bytes())
        if frames:
            shuffled = [frames[index] for index in self.random.permutation(len(frames))]
            write_enhanced(folder / "enhanced.dcm", shuffled, spacing=(1, 1, (stated or 1) * base), modality=modality)

    def _part(self, part: int, base: float) -> list[tuple[NDArray[Any], Source]]:
        """Slices in a row: maybe tilted, between or beyond those of another part, with some lost or displaced."""
        count = self._one_of(1, 2, 3, 4, 6, 8)
        orientation = self._one_of(AXIAL, AXIAL, AXIAL, SAGITTAL, CORONAL)
        first = self._one_of(0, 0, 0.5, 0.3, count, count + 1, 8) * base
        step = self._one_of(1, 1, 1, 1, 2, 0.5) * base
        lean, loss = self._one_of(0, 0, 0, 0, 0.2), self._one_of(0, 0, 0, 0.2)
        displaced = int(self.random.integers(count)) if self.random.random() < 0.1 else -1
        voxels = make_voxels((*ROWS_COLUMNS, count), seed=int(self.random.integers(2**31)))
        row, column = np.array(orientation, dtype=np.float64)
        found = []
        for k in range(count):
            height = first + k * step + (0.2 * base if k == displaced else 0.0)
            position = np.array([10.0, -20.0, 30.0]) + np.cross(row, column) * height + column * lean * k * step
            source = Source(part, position, orientation)
            if self.random.random() >= loss:
                self.sources[voxels[:, :, k].tobytes()] = source
                found.append((voxels[:, :, k], source))
        return found

    def _image(self, pixels: NDArray[Any], source: Source, modality: str, instance: str) -> Dataset:
        dataset = make_image(pixels, Identity(), modality, instance=instance)
        dataset.ImageOrientationPatient = decimals(np.ravel(source.orientation).tolist())
        dataset.ImagePositionPatient = decimals(source.position.tolist())
        dataset.PixelSpacing = ["1", "1"]
        dataset.FrameOfReferenceUID = Identity().frame_uid
        dataset.InstanceNumber = int(self.random.integers(100))
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        if self.telling:
            setattr(dataset, self.telling, TELLING[self.telling][source.part])
        return dataset

    def _frame(self, pixels: NDArray[Any], source: Source) -> Frame:
        return Frame(
            pixels,
            source.position.tolist(),
            1,
            orientation=source.orientation,
            temporal=source.part + 1 if self.telling == "TemporalPositionIdentifier" else None,
            echo_time=4.6 * (source.part + 1) if self.telling == "EchoTime" else None,
        )

    def _one_of(self, *values: Any) -> Any:
        return values[int(self.random.integers(len(values)))]


def check(chaos: Chaos, reading: Reading) -> None:
    """Hold each slice of each volume against the file whose pixels it has."""
    used: Counter[bytes] = Counter()
    for _, volume in reading.volumes:
        matrix = LPS @ volume.geometry.matrix[:3]
        parts = set()
        for k in range(volume.geometry.shape[2]):
            pixels = volume.voxels[0, :, :, k].astype(np.uint16).tobytes()
            source = chaos.sources[pixels]
            used[pixels] += 1
            parts.add(source.part)
            np.testing.assert_allclose(matrix[:, 3] + k * matrix[:, 2], source.position, atol=PLACE_MM)
            np.testing.assert_allclose(matrix[:, :2].T, source.orientation, atol=1e-6)
        if len(parts) > 1:
            assert chaos.telling not in NEVER_MIXED
            assert (
                chaos.telling not in NOTED or any(chaos.telling in note for note in volume.notes) or len(parts) == k + 1
            )
    assert max(used.values(), default=1) == 1, "a slice is in two volumes"


def throw(seeds: range, folder: Path) -> Counter[bool]:
    """Count what is read (True) and refused."""
    outcomes: Counter[bool] = Counter()
    for seed in seeds:
        chaos, place = Chaos(default_rng(seed)), folder / str(seed)
        place.mkdir()
        chaos.write(place)
        reading = read_folder(place)
        check(chaos, reading)
        outcomes[bool(reading.volumes)] += 1
    return outcomes


def test_what_is_read_lies_where_its_files_say(tmp_path: Path) -> None:
    outcomes = throw(range(40), tmp_path)
    assert min(outcomes[True], outcomes[False]) >= 10


@pytest.mark.long
def test_what_is_read_of_thousands_lies_where_its_files_say(tmp_path: Path) -> None:
    outcomes = throw(range(40, 3000), tmp_path)
    assert min(outcomes[True], outcomes[False]) >= 900
