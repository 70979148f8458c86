"""Pictures of a case: the right slices, the right way up, heat where it is."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.writers.film import contact_sheet, make_strips
from pipeline.writers.frames import Frames
from pipeline.writers.heat_colours import COLOURS, coloured

SIZE = (40, 60, 30)


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


def volume(seed: int = 0, size: tuple[int, ...] = SIZE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, *size)).astype(np.float32)


def block(size: tuple[int, ...], *where: slice) -> NDArray[np.float32]:
    heat = np.zeros(size, dtype=np.float32)
    heat[where] = 1
    return heat


def centre(picture: NDArray[np.number]) -> tuple[float, float]:
    """Centre of mass as parts of the height and the width of a frame."""
    rows, columns = np.indices(picture.shape)
    total = float(picture.sum(dtype=np.float64))
    return float((rows * picture).sum() / total / picture.shape[0]), float(
        (columns * picture).sum() / total / picture.shape[1]
    )


@pytest.mark.parametrize(
    ("spacing", "where", "row", "column"),
    [
        # (i, j, k) run to right, anterior, superior; parts of the height from the top, of the width from the left
        ((1, 1, 3), (slice(30, 40), slice(45, 60), slice(0, 30)), "top", "left"),  # axial: right anterior
        ((1, 1, 3), (slice(0, 10), slice(0, 15), slice(0, 30)), "bottom", "right"),  # axial: left posterior
        ((1, 3, 1), (slice(30, 40), slice(0, 60), slice(22, 30)), "top", "left"),  # coronal: right superior
        ((3, 1, 1), (slice(0, 40), slice(45, 60), slice(0, 8)), "bottom", "left"),  # sagittal: anterior inferior
    ],
)
def test_volumes_are_seen_as_a_radiologist_sees_them(
    spacing: tuple[float, ...], where: tuple[slice, ...], row: str, column: str
) -> None:
    heat = block(SIZE, *where)
    strips = make_strips(heat[np.newaxis] - 0.5, spacing, 3, {"lesion": heat})

    overlay = pixels(strips.overlays["lesion"])[:, : strips.width, 3].astype(float)
    for picture in (overlay, pixels(strips.slices)[:, : strips.width].astype(float)):
        down, across = centre(picture)
        assert (down < 0.3) if row == "top" else (down > 0.7)
        assert (across < 0.3) if column == "left" else (across > 0.7)


def test_a_single_image_stays_as_stored_columns_along_rows_down() -> None:
    heat = block((50, 30), slice(40, 50), slice(0, 6))
    strips = make_strips(heat[np.newaxis], None, 2, {"lesion": heat})

    assert (strips.frames, strips.width, strips.height) == (1, 128, 77)
    down, across = centre(pixels(strips.overlays["lesion"])[..., 3].astype(float))
    assert down < 0.2 and across > 0.8


@pytest.mark.parametrize(
    ("size", "spacing", "width", "height"),
    [
        (SIZE, (1.0, 1.0, 2.0), 85, 128),
        (SIZE, (3.0, 1.0, 3.0), 128, 64),  # of equals the last: axial
        (SIZE, (1.0, 1.0, 1.0), 85, 128),
        ((64, 64, 10), (0.5, 0.5, 0.4), 128, 128),  # hardly thinner: axial all the same
        ((300, 20), (0.1, 1.5), 128, 128),
        ((300, 20), None, 128, 9),
        ((1000, 1), None, 128, 1),
        ((1, 1, 1), (1.0, 1.0, 1.0), 128, 128),
    ],
)
def test_frames_have_the_proportions_of_the_patient(
    size: tuple[int, ...], spacing: tuple[float, ...] | None, width: int, height: int
) -> None:
    strips = make_strips(volume(size=size), spacing, len(size), {})

    assert (strips.width, strips.height) == (width, height)
    assert pixels(strips.slices).shape == (height, width * strips.frames)


def test_slices_are_spread_evenly_and_the_hottest_is_among_them() -> None:
    assert Frames.of((9, 9, 90), None).slices == (5, 15, 25, 35, 45, 55, 65, 75, 85)
    assert Frames.of((9, 9, 4), None).slices == (0, 1, 2, 3)
    assert Frames.of((9, 90, 9), (1, 2, 1)).axis == 1
    heat = block((9, 9, 90), slice(0, 1), slice(0, 1), slice(31, 32))
    assert Frames.of((9, 9, 90), None, [heat]).slices == (5, 15, 25, 31, 45, 55, 65, 75, 85)
    cold = np.zeros_like(heat)
    assert Frames.of((9, 9, 90), None, [cold]).slices == (5, 15, 25, 35, 45, 55, 65, 75, 85)


def test_overlays_share_frames_that_show_every_finding() -> None:
    heats = {f"finding{k}": block(SIZE, slice(3, 20), slice(3, 20), slice(k, k + 1)) for k in (1, 2, 13, 29)}
    strips = make_strips(volume(), (1, 1, 1), 3, heats)

    assert strips.frames == 9
    for content in strips.overlays.values():
        assert pixels(content).shape == (strips.height, 9 * strips.width, 4)
        assert pixels(content)[..., 3].max() == round(255 * 0.7)


def test_more_findings_than_frames_keep_the_number_of_frames() -> None:
    heats = {f"finding{k}": block(SIZE, slice(3, 20), slice(3, 20), slice(k, k + 1)) for k in range(5)}
    assert make_strips(volume(), None, 3, heats, frames=3).frames == 3


def test_nothing_covers_the_picture_where_there_is_no_heat() -> None:
    heat = block(SIZE, slice(0, 4), slice(0, 4), slice(0, 30))
    over = pixels(make_strips(volume(), None, 3, {"lesion": heat}).overlays["lesion"])

    assert (over[:100, :, :] == 0).all()  # left posterior is below
    assert over[..., 3].any()


def test_hotter_is_lighter_and_less_transparent() -> None:
    colours = coloured(np.linspace(0, 1, 101)[np.newaxis]).astype(int)[0]
    luminance = colours[1:, :3] @ [0.2126, 0.7152, 0.0722]

    assert (np.diff(colours[:, 3]) >= 0).all() and colours[0].tolist() == [0, 0, 0, 0]
    assert (np.diff(luminance) >= -0.5).all() and luminance[-1] > 200
    assert len(np.unique(COLOURS, axis=0)) > 200


def test_colour_is_kept_in_two_dimensions_and_grey_is_windowed() -> None:
    image = np.zeros((3, 32, 32), np.float32) - 1
    image[0, :16], image[1, 16:] = 1, 1  # red on the left, green on the right
    shown = pixels(make_strips(image, None, 2, {}).slices)
    assert shown[64, 10].tolist() == [255, 0, 0] and shown[64, 120].tolist() == [0, 255, 0]

    grey = volume()
    grey[0, 0, 0, 0] = 1e6  # one voxel that would make all others black
    assert pixels(make_strips(grey, None, 3, {}).slices).std() > 20


def test_of_several_series_the_first_that_is_there_is_shown() -> None:
    one = volume()
    stacked = np.concatenate([np.zeros_like(one), one, volume(1)])

    assert make_strips(stacked, None, 3, {}).slices == make_strips(one, None, 3, {}).slices


def test_an_image_without_contrast_is_black() -> None:
    assert not pixels(make_strips(np.full((1, *SIZE), 3.0, np.float32), None, 3, {}).slices).any()


def test_equal_cases_give_equal_bytes() -> None:
    heat = np.abs(volume(4)[0])
    heat /= heat.max()
    turned = np.asfortranarray(volume())

    one, other = (make_strips(image, (1, 1, 2), 3, {"lesion": heat}) for image in (volume(), turned))

    assert one == other


def test_a_contact_sheet_holds_all_frames_fused() -> None:
    heat = block(SIZE, slice(20, 40), slice(0, 60), slice(0, 30))
    plain = contact_sheet(volume(), None, 3, None, frames=7, side=60)
    fused = contact_sheet(volume(), None, 3, heat, frames=7, side=60)

    assert (fused.shape, fused.dtype) == ((180, 120, 3), np.uint8)
    assert (plain[..., 0] == plain[..., 1]).all()  # grey
    assert not fused[120:, 40:].any()  # two cells of nine are empty
    colour = np.ptp(fused.astype(int), axis=-1)
    assert colour[:60, :16].mean() > 30  # the patient's right is on the left
    np.testing.assert_array_equal(fused[:60, 24:40], plain[:60, 24:40])


def test_a_contact_sheet_of_a_picture_is_one_frame() -> None:
    image = np.zeros((3, 20, 10), np.float32)
    image[2, :, 5:] = 1
    sheet = contact_sheet(image, None, 2, np.zeros((20, 10), np.float32), side=40)

    assert sheet.shape == (20, 40, 3)
    assert sheet[-1, 0].tolist() == [0, 0, 255] and sheet[0, 0].tolist() == [0, 0, 0]


def test_a_heatmap_of_another_grid_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="grid"):
        make_strips(volume(), None, 3, {"lesion": np.zeros((2, 2, 2), np.float32)})
