from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cohort.leaks import audit
from pipeline.cohort.likeness import WHITE, perceptual_hash, thumbnail
from pipeline.cohort.near_copies import Image, near_copies
from pipeline.cohort.thumbnails import KeptThumbnails, Spool, kept_thumbnails, packed
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume
from pipeline.errors import ManifestError

RNG = np.random.default_rng(5)
SHAPES = ((40, 36, 30), (40, 36, 1))


def image(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.kron(RNG.normal(size=[-(-n // 6) for n in shape]), np.ones([6] * 3))[tuple(map(slice, shape))].astype(
        "f4"
    )


def volume(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> Volume:
    geometry = Geometry.from_matrix(voxels.shape, affine, Unit.MM)
    return Volume(voxels=np.ascontiguousarray(voxels[None]), geometry=geometry, modality="MR")


def apart(one: Volume, other: Volume) -> int:
    bits = [int(perceptual_hash(thumbnail(each)), 16) for each in (one, other)]
    return (bits[0] ^ bits[1]).bit_count()


@pytest.mark.parametrize("shape", SHAPES)
def test_rescaled_or_stored_the_other_way_round_it_is_the_same(shape: tuple[int, ...]) -> None:
    voxels = image(shape)
    back = np.diag([-1.0, 1.0, 1.0, 1.0])
    back[0, 3] = shape[0] - 1
    original = volume(voxels, np.eye(4))
    assert apart(original, volume(voxels * 4 + 8, np.eye(4))) <= 1
    if shape[2] > 1:  # the canonical order of a 2D image is its stored one
        assert apart(original, volume(voxels[::-1], back)) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_another_image_differs_in_many_bits(shape: tuple[int, ...]) -> None:
    assert apart(volume(image(shape), np.eye(4)), volume(image(shape), np.eye(4))) > 60


def test_a_thumbnail_is_the_mean_of_equal_parts() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 32, 32))
    thumb = thumbnail(volume(ramp, np.eye(4)))
    assert thumb.shape == (32, 32, 32) and thumb.max() == WHITE[3]
    assert thumb[10, 3, 4] == round(31 * (20.5 - 0.5) / (62.5 - 0.5))


def test_parts_may_cut_voxels_and_channels_are_averaged() -> None:
    voxels = np.broadcast_to(np.arange(48, dtype=np.float32)[:, None, None], (48, 40, 1))
    colour = Volume(np.stack([voxels * 0.5, voxels, voxels * 1.5]), Geometry.from_matrix((48, 40, 1), np.eye(4)), "US")
    thumb = thumbnail(colour)  # a part is 1.5 voxels: the first holds voxel 0 and half of voxel 1
    expected = [
        (np.mean([3 * n, 3 * n, 3 * n + 1]) if half == 0 else np.mean([3 * n + 1, 3 * n + 2, 3 * n + 2]))
        for n in range(16)
        for half in (0, 1)
    ]
    scaled = 255 * (np.array(expected) - expected[0]) / (expected[-1] - expected[0])
    assert thumb.shape == (32, 32)
    np.testing.assert_allclose(thumb[:, 7], np.rint(scaled), atol=4)  # the first and last percent are clipped


def test_a_small_mask_on_an_even_ground_is_seen() -> None:
    mask = np.zeros((64, 64, 64), np.float32)
    mask[4:8, 20:24, 40:44] = 1
    assert np.argwhere(thumbnail(volume(mask, np.eye(4)))).min(axis=0).tolist() == [2, 10, 20]


@pytest.mark.parametrize("shape", SHAPES)
def test_near_copies_are_found_across_patients_and_splits_alone(shape: tuple[int, ...]) -> None:
    voxels = [image(shape) for _ in range(300)]
    noisy = voxels[7] + RNG.normal(0, 0.05, shape).astype(np.float32)
    thumbs = [thumbnail(volume(each, np.eye(4))) for each in (*voxels, noisy, noisy, noisy, noisy)]
    apart = [(f"P{n}", "train", f"v{n}") for n in range(300)]
    apart += [("P300", "test", "v300"), ("P7", "test", "v301"), ("P302", "train", "v302"), ("P303", "test", "v7")]
    images = [Image(str(n), perceptual_hash(thumb), apart[n]) for n, thumb in enumerate(thumbs)]
    assert list(near_copies(images, lambda series: thumbs[int(series)])) == [
        (7, 300),
        (300, 302),
        (301, 302),
        (302, 303),
    ]


def test_equal_hashes_of_unlike_thumbnails_are_no_copies() -> None:
    one, other = (thumbnail(volume(image(SHAPES[0]), np.eye(4))) for _ in range(2))
    images = [
        Image("0", perceptual_hash(one), ("P0", "train", "")),
        Image("1", perceptual_hash(one), ("P1", "test", "v")),
    ]
    assert list(near_copies(images, lambda series: one)) == [(0, 1)]
    assert not list(near_copies(images, lambda series: (one, other)[int(series)]))


def test_thumbnails_come_back_from_the_file_of_the_manifest_alone(tmp_path: Path) -> None:
    thumbs = {
        name: thumbnail(volume(image(shape), np.eye(4))) for name, shape in zip(("S1", "S2"), SHAPES, strict=True)
    }
    spool = Spool()
    for name, thumb in (*thumbs.items(), ("refused", thumbs["S1"])):
        spool.keep(name, packed(thumb))
    path = tmp_path / "cohort.csv"
    spool.save(path, ["S2", "S1"])
    cases = tuple(case(name, "P", Split.TRAIN, likeness=perceptual_hash(thumb)) for name, thumb in thumbs.items())
    kept = kept_thumbnails(path, Manifest(cases=cases))
    assert kept is not None
    for name, thumb in thumbs.items():
        assert np.array_equal(spool(name), thumb) and np.array_equal(kept(name), thumb)
    assert set(np.load(tmp_path / "cohort.thumbnails.npz")) == {"S1", "S2"}
    swapped = (cases[0].model_copy(update={"series": (cases[0].series[0].model_copy(update={"likeness": "00"}),)}),)
    for manifest, asked, message in (
        (Manifest(cases=cases), "S3", "damaged, or of another manifest"),
        (Manifest(cases=swapped), "S1", "another image"),
    ):
        with pytest.raises(ManifestError, match=message):
            KeptThumbnails(tmp_path / "cohort.thumbnails.npz", manifest)(asked)
    (tmp_path / "cohort.thumbnails.npz").write_bytes(b"PK")
    with pytest.raises(ManifestError, match="is damaged"):
        kept_thumbnails(path, Manifest(cases=cases))
    older = case("C1", "P", Split.TRAIN)
    assert kept_thumbnails(path, Manifest(cases=(older,))) is None


def test_cases_tied_by_near_copies_are_one_leak() -> None:
    thumbs = [thumbnail(volume(image(SHAPES[0]), np.eye(4))) for _ in range(2)]
    bits = [perceptual_hash(thumb) for thumb in thumbs]
    cases = [case(f"S{n}", f"P{n}", split, likeness=bits[n // 4]) for n, split in enumerate([*Split, Split.TEST] * 2)]
    found = audit(cases, lambda series: thumbs[int(series[1:]) // 4])
    assert [(leak.kind, leak.cases) for leak in found] == [
        ("likeness", ("S0", "S1", "S2", "S3")),
        ("likeness", ("S4", "S5", "S6", "S7")),
    ]
    assert str(found[0]).startswith("nearly the same image: P0 (train, case S0), P1 (validation, case S1)")
    assert audit(cases, None) == ()


def case(name: str, patient: str, split: Split, likeness: str = "") -> Case:
    series = CaseSeries(
        series=name,
        reader="nifti",
        modality="MR",
        shape=(2, 2, 2),
        spacing=(1.0, 1.0, 1.0),
        unit=Unit.MM,
        plane=Plane.AXIAL,
        channels=1,
        digest=f"d{name}",
        likeness=likeness,
    )
    return Case(case=name, patient=patient, study="T", series=(series,), split=split)
