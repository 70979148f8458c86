"""Enhanced multi-frame objects, mosaics and clips: many frames in a file, of which only some are slices."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import ultrasound_region, write_radiograph
from phantoms.dicom_series import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Orientation,
    Vector,
    expected_affine,
    make_items,
    make_voxels,
    write_series,
)
from phantoms.readings import (
    assert_all_right,
    assert_refused,
    assert_reopens,
    read_folder,
)
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.selection import Range, SeriesRules
from pipeline.domain.series import Series
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions

SHAPE = (6, 5, 7)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 2.5)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)
TURN = np.radians(25), np.radians(-14)
OBLIQUE: Orientation = (
    (float(np.cos(TURN[0])), float(np.sin(TURN[0])), 0.0),
    (
        float(-np.sin(TURN[0]) * np.cos(TURN[1])),
        float(np.cos(TURN[0]) * np.cos(TURN[1])),
        float(np.sin(TURN[1])),
    ),
)


def write(folder: Path, voxels: np.ndarray[Any, Any] | None = None, **changes: Any) -> list[Path]:
    settings = {"position": POSITION, "spacing": SPACING} | changes
    return write_series(folder, make_voxels(SHAPE) if voxels is None else voxels, **settings)


def frames_of(voxels: np.ndarray[Any, Any], **same: Any) -> list[Any]:
    return make_frames(voxels, **({"position": POSITION, "spacing": SPACING} | same))


def shuffled(frames: list[Any], seed: int = 1) -> list[Any]:
    return [frames[index] for index in np.random.default_rng(seed).permutation(len(frames))]


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
def test_enhanced_frames_in_any_order(tmp_path: Path, modality: str, orientation: Orientation) -> None:
    voxels = make_voxels(SHAPE)
    frames = shuffled(frames_of(voxels, orientation=orientation))
    write_enhanced(tmp_path / "enhanced.dcm", frames, spacing=SPACING, modality=modality)
    truth = voxels, expected_affine(orientation, POSITION, SPACING)
    assert_all_right(read_folder(tmp_path), [truth])


@pytest.mark.parametrize(
    "differ",
    [
        pytest.param([{"echo_time": 4.6}, {"echo_time": 9.2}], id="echoes"),
        pytest.param([{"temporal": 1}, {"temporal": 2}], id="temporal positions"),
        pytest.param([{"stack": "1"}, {"stack": "2"}], id="stacks"),
    ],
)
def test_enhanced_4d_is_split(tmp_path: Path, differ: list[dict[str, Any]]) -> None:
    sets = [make_voxels(SHAPE, seed=31), make_voxels(SHAPE, seed=32)]
    frames = [frame for voxels, same in zip(sets, differ, strict=True) for frame in frames_of(voxels, **same)]
    write_enhanced(tmp_path / "enhanced.dcm", shuffled(frames), spacing=SPACING)
    assert_all_right(read_folder(tmp_path), [(voxels, AFFINE) for voxels in sets])


def test_enhanced_stacks_of_two_orientations_open_again(tmp_path: Path) -> None:
    """A file that carries two stacks is reopened by its number, each with its own voxels."""
    sets = [make_voxels(SHAPE, seed=41), make_voxels(SHAPE, seed=42)]
    turned = frames_of(sets[1], stack="2", orientation=CORONAL)
    write_enhanced(tmp_path / "enhanced.dcm", shuffled(frames_of(sets[0]) + turned), spacing=SPACING)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(sets[0], AFFINE), (sets[1], expected_affine(CORONAL, POSITION, SPACING))])
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def test_enhanced_rescale_of_each_frame(tmp_path: Path) -> None:
    voxels = make_voxels(SHAPE)
    slopes, intercepts = 0.5 + np.arange(SHAPE[2]), 10.0 - np.arange(SHAPE[2])
    frames = [
        dataclasses.replace(frame, slope=float(slopes[k]), intercept=float(intercepts[k]))
        for k, frame in enumerate(frames_of(voxels))
    ]
    write_enhanced(tmp_path / "enhanced.dcm", shuffled(frames), spacing=SPACING)
    assert_all_right(read_folder(tmp_path), [(voxels * slopes + intercepts, AFFINE)], rtol=1e-6)


def test_enhanced_frames_that_nothing_tells_apart(tmp_path: Path) -> None:
    frames = frames_of(make_voxels(SHAPE, seed=51)) + frames_of(make_voxels(SHAPE, seed=52))
    write_enhanced(tmp_path / "enhanced.dcm", frames, spacing=SPACING)
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


def test_enhanced_with_a_frame_missing(tmp_path: Path) -> None:
    frames = frames_of(make_voxels(SHAPE))
    write_enhanced(tmp_path / "enhanced.dcm", frames[:3] + frames[4:], spacing=SPACING)
    assert_refused(read_folder(tmp_path), Code.GAP)


def no_positions(dataset: Dataset) -> None:
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


def no_orientation(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def no_measures(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def one_group_less(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[-1]


def one_frame_more(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 8


def zero_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 0


def no_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence
    del dataset.SharedFunctionalGroupsSequence


@pytest.mark.parametrize(
    ("edit", "codes"),
    [
        (no_positions, {Code.NO_GEOMETRY}),
        (no_orientation, {Code.NO_GEOMETRY}),
        (no_measures, {Code.NO_SPACING}),
        (one_group_less, {Code.BAD_HEADER}),
        (one_frame_more, {Code.BAD_HEADER, Code.TRUNCATED, Code.BAD_PIXELS}),
        (zero_frames, {Code.BAD_HEADER, Code.BAD_VALUE, Code.BAD_PIXELS}),
        (no_groups, {Code.NO_GEOMETRY, Code.NOT_SUPPORTED, Code.BAD_HEADER, Code.NO_SPACING}),
    ],
)
def test_enhanced_headers_that_contradict_themselves(
    tmp_path: Path, edit: Callable[[Dataset], None], codes: set[Code]
) -> None:
    write_enhanced(tmp_path / "enhanced.dcm", frames_of(make_voxels(SHAPE)), spacing=SPACING, edit=edit)
    assert_refused(read_folder(tmp_path), *codes)


def test_a_siemens_mosaic(tmp_path: Path) -> None:
    def mosaic(dataset: Dataset, k: int) -> None:
        dataset.Manufacturer = "SIEMENS"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        dataset.add_new(0x0019100A, "US", 4)

    write(tmp_path, make_voxels((8, 8, 3)), modality="MR", edit=mosaic)
    assert_refused(read_folder(tmp_path), Code.MOSAIC)


def test_a_uih_grid(tmp_path: Path) -> None:
    def grid(dataset: Dataset, k: int) -> None:
        dataset.Manufacturer = "UIH"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
        dataset.add_new(0x00650010, "LO", "Image Private Header")
        dataset.add_new(0x00651050, "DS", "4")
        dataset.add_new(0x00651051, "SQ", [Dataset() for _ in range(4)])

    write(tmp_path, make_voxels((8, 8, 3)), modality="MR", edit=grid)
    assert_refused(read_folder(tmp_path), Code.MOSAIC, Code.NOT_SUPPORTED)


@pytest.mark.parametrize("regions", [False, True], ids=["plain", "with region"])
def test_an_ultrasound_cine_is_never_a_volume(tmp_path: Path, regions: bool) -> None:
    clip = make_voxels((6, 5, 8), high=255, dtype=np.uint8)
    write_clip(tmp_path / "clip.dcm", clip, regions=regions)
    reading = read_folder(tmp_path)
    assert all(volume.is_2d for _, volume in reading.volumes)
    if not reading.volumes:
        assert_refused(reading, Code.NOT_SUPPORTED, Code.NOT_3D)


def write_clip(path: Path, clip: np.ndarray[Any, Any], *, regions: bool) -> None:
    def cine(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        dataset.NumberOfFrames = clip.shape[2]
        dataset.FrameTime = "33.3"
        dataset.FrameIncrementPointer = 0x00181063
        dataset.PixelData = np.ascontiguousarray(clip.T).tobytes()
        if regions:
            dataset.SequenceOfUltrasoundRegions = ultrasound_region(0.05, 0.04)

    write_radiograph(path, clip[:, :, 0], modality="US", spacing=None, edit=cine)


def tell_of_frames(dataset: Dataset) -> None:
    """A reconstruction of thick slices whose distance is half their thickness, with an agent."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.CTReconstructionSequence = make_items(ConvolutionKernel="B30f")
    shared.PixelMeasuresSequence[0].SliceThickness = "5"
    dataset.ContrastBolusAgentSequence = make_items(
        CodeValue="C-B0322", CodingSchemeDesignator="SRT", CodeMeaning="Iohexol", ContrastBolusAgentNumber=1
    )


def administered(*said: str, shared: str = "") -> Callable[[Dataset], None]:
    """What the frames, in turn, and all of them say of the agent; an empty word leaves it out."""

    def usage(answer: str) -> Any:
        return make_items(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered=answer)

    def edit(dataset: Dataset) -> None:
        tell_of_frames(dataset)
        if shared:
            dataset.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = usage(shared)
        for group, answer in zip(dataset.PerFrameFunctionalGroupsSequence, said, strict=bool(said)):
            if answer:
                group.ContrastBolusUsageSequence = usage(answer)

    return edit


def series_of(folder: Path, edit: Callable[[Dataset], None], modality: str = "CT", **same: Any) -> Series:
    write_enhanced(
        folder / "a.dcm", frames_of(make_voxels(SHAPE), **same), spacing=SPACING, modality=modality, edit=edit
    )
    ((series, _),) = read_folder(folder).volumes
    return series


def test_enhanced_objects_pass_the_rules_that_their_slices_would(tmp_path: Path) -> None:
    series = series_of(tmp_path / "ct", tell_of_frames)
    assert SeriesRules(kernel="B30f", contrast="with", slice_thickness=Range(min=4)).wants(series)
    assert series.attributes["contrast"] == "Iohexol"
    series = series_of(tmp_path / "mr", lambda dataset: None, "MR", echo_time=30.0)
    assert SeriesRules(contrast="without", attributes={"echo": "30"}).wants(series)


def test_kernels_of_which_frames_have_several_are_none_of_the_series(tmp_path: Path) -> None:
    def edit(dataset: Dataset) -> None:
        for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.CTReconstructionSequence = make_items(ReconstructionAlgorithm=f"A{k}", ConvolutionKernel=f"K{k % 2}")

    write_enhanced(tmp_path / "a.dcm", frames_of(make_voxels(SHAPE)), spacing=SPACING, modality="CT", edit=edit)
    found = discover(tmp_path, ReadOptions()).series
    assert all(series.attributes.get("kernel") in (None, "K0", "K1") for series in found)


@pytest.mark.parametrize(
    ("edit", "known"),
    [
        pytest.param(administered(), "with", id="says nothing"),
        pytest.param(administered(shared="YES"), "with", id="all"),
        pytest.param(administered(*["YES"] * SHAPE[2]), "with", id="each"),
        pytest.param(administered(*["NO"] * SHAPE[2]), "without", id="none yet"),
        pytest.param(administered(shared="NO"), "without", id="none"),
        pytest.param(administered(*["NO"] * 3, *["YES"] * 4), None, id="some"),
        pytest.param(administered(*["NO"] * 3, *[""] * 4, shared="YES"), None, id="some, the others by all"),
    ],
)
def test_the_agent_of_an_enhanced_object(
    tmp_path: Path, edit: Callable[[Dataset], None], known: Literal["with", "without"] | None
) -> None:
    series = series_of(tmp_path, edit)
    wanted = [rule for rule in ("with", "without") if SeriesRules(contrast=rule).wants(series)]
    assert wanted == ([known] if known else [])
