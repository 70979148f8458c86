"""Writers of series that have an oddity."""

from pathlib import Path
from typing import Any

import numpy as np
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import (
    AXIAL,
    SAGITTAL,
    Edit,
    Identity,
    Orientation,
    Vector,
    decimals,
    expected_affine,
    make_voxels,
    set_text,
    write_series,
)
from phantoms.readings import Truth
from pydicom.dataset import Dataset

from oddities.row import Write

SHAPE = (6, 5, 6)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 2.5)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)
C, S = float(np.cos(0.4)), float(np.sin(0.4))
OBLIQUE: Orientation = ((C, S, 0.0), (-S * C, C * C, S))
VOXELS = make_voxels(SHAPE)


def write(folder: Path, voxels: Any = VOXELS, **changes: Any) -> list[Path]:
    return write_series(folder, voxels, **({"position": POSITION, "spacing": SPACING} | changes))


def series(drop: slice | list[int] = slice(0), orientation: Orientation = AXIAL, **changes: Any) -> Write:
    """A phantom of one series, without some of its slices; right."""

    def writing(folder: Path) -> list[Truth]:
        paths = write(folder, orientation=orientation, **changes)
        for path in paths[drop] if isinstance(drop, slice) else [paths[k] for k in drop]:
            path.unlink()
        return [(VOXELS, expected_affine(orientation, POSITION, SPACING))]

    return writing


def refused(writing: Write) -> Write:
    def without_truth(folder: Path) -> None:
        writing(folder)

    return without_truth


def setting(**values: Any) -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value(k) if callable(value) else value)

    return edit


def raw(tag: int, text: str, only: int | None = None) -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        if only in (None, k):
            set_text(dataset, tag, "DS", text)

    return edit


def at(heights: list[float], lean: float = 0.0) -> Edit:
    """Put slice k at a height along the normal, and sideways by `lean` for each millimetre of it."""
    return setting(
        ImagePositionPatient=lambda k: decimals(
            [POSITION[0], POSITION[1] + lean * heights[k], POSITION[2] + heights[k]]
        )
    )


def two(*edits: Edit, positions: tuple[Vector, Vector] = (POSITION, POSITION), modality: str = "MR") -> Write:
    """Two pixel sets in one series, each with its own edit."""

    def writing(folder: Path) -> list[Truth]:
        sets = [make_voxels(SHAPE, seed=part + 1) for part in range(2)]
        for part, (voxels, edit, position) in enumerate(zip(sets, edits, positions, strict=True)):
            write(folder, voxels, edit=edit, part=part, modality=modality, position=position)
        return [(v, expected_affine(AXIAL, p, SPACING)) for v, p in zip(sets, positions, strict=True)]

    return writing


def copied(folder: Path) -> list[Truth]:
    paths = write(folder / "a")
    for k in (0, 3):
        (folder / f"copy {k}").write_bytes(paths[k].read_bytes())
    return [(VOXELS, AFFINE)]


def over_folders(folder: Path) -> list[Truth]:
    for k, path in enumerate(write(folder)):
        (folder / f"disc {k % 3}").mkdir(exist_ok=True)
        path.rename(folder / f"disc {k % 3}" / path.name)
    return [(VOXELS, AFFINE)]


def two_series(folder: Path) -> list[Truth]:
    other = make_voxels(SHAPE, seed=1)
    write(folder)
    write(folder, other, identity=Identity().another_series(2))
    return [(VOXELS, AFFINE), (other, AFFINE)]


def with_localizer(folder: Path) -> list[Truth]:
    write(folder)
    write(folder, make_voxels((6, 5, 2), seed=2), orientation=SAGITTAL, part=1)
    return [(VOXELS, AFFINE)]


def two_sizes(folder: Path) -> list[Truth]:
    other = make_voxels((8, 5, 6), seed=2)
    write(folder)
    write(folder, other, part=1)
    return [(VOXELS, AFFINE), (other, AFFINE)]


def odd_spacing(dataset: Dataset, k: int) -> None:
    if k == 4:
        dataset.PixelSpacing = ["1.25", "0.8"]


def jitter(dataset: Dataset, k: int) -> None:
    values = np.ravel(np.array(OBLIQUE)) + np.random.default_rng(k).uniform(-2e-6, 2e-6, 6)
    set_text(dataset, 0x00200037, "DS", "\\".join(f"{value:.18f}" for value in values))


def moved_patient(folder: Path) -> list[Truth]:
    write(folder, edit=setting(FrameOfReferenceUID=lambda k: f"1.2.826.0.1.3680043.8.498.1.{1 + k // 3}"))
    upper = expected_affine(AXIAL, (POSITION[0], POSITION[1], POSITION[2] + 3 * SPACING[2]), SPACING)
    return [(VOXELS[:, :, :3], AFFINE), (VOXELS[:, :, 3:], upper)]


def radiograph(folder: Path) -> list[Truth]:
    image = make_voxels((6, 5, 1), seed=3)
    write_radiograph(folder / "a.dcm", image[:, :, 0])
    return [(image, np.diag([0.2, 0.1, 1.0, 1.0]))]


def breasts(folder: Path) -> list[Truth]:
    truths = []
    for number, (side, view) in enumerate([("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]):
        image = make_voxels((6, 5, 1), seed=number)
        write_radiograph(
            folder / f"{number}", image[:, :, 0], modality="MG", laterality=side, view=view, instance=f"{number}"
        )
        truths.append((image, np.diag([0.2, 0.1, 1.0, 1.0])))
    return truths


def clip(folder: Path) -> None:
    frames = make_voxels((6, 5, 8), high=255, dtype=np.uint8)

    def cine(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        dataset.NumberOfFrames = 8
        dataset.PixelData = np.ascontiguousarray(frames.T).tobytes()

    write_radiograph(folder / "clip.dcm", frames[:, :, 0], modality="US", spacing=None, edit=cine)


def enhanced(*stacks: dict[str, Any], copies: int = 1, modality: str = "MR") -> Write:
    """An enhanced multi-frame object of one or more stacks, its frames in no order, in one file or several."""

    def writing(folder: Path) -> list[Truth]:
        sets = [make_voxels(SHAPE, seed=10 + number) for number in range(len(stacks))]
        settings = [{"position": POSITION, "orientation": AXIAL} | same for same in stacks]
        frames = [f for v, same in zip(sets, settings, strict=True) for f in make_frames(v, spacing=SPACING, **same)]
        shuffled = [frames[index] for index in np.random.default_rng(1).permutation(len(frames))]
        for number in range(copies):
            edit = setting(SOPInstanceUID=f"1.2.826.0.1.3680043.8.498.{number}")
            write_enhanced(
                folder / f"{number}.dcm",
                shuffled,
                spacing=SPACING,
                modality=modality,
                edit=lambda dataset, edit=edit: edit(dataset, 0),  # type: ignore[misc]
            )
        places = [expected_affine(same["orientation"], same["position"], SPACING) for same in settings]
        return list(zip(sets, places, strict=True))

    return writing


def mosaic(*image_type: str) -> Write:
    return refused(series(modality="MR", edit=setting(ImageType=["ORIGINAL", "PRIMARY", "M", *image_type])))


ABOVE: Vector = (POSITION[0], POSITION[1], POSITION[2] + 6 * SPACING[2])
HALF_WAY: Vector = (POSITION[0], POSITION[1], POSITION[2] + SPACING[2] / 2)
EVEN = [2.5 * k for k in range(6)]
