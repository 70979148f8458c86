"""A copy of an image that lacks some of its slices is found by the slices; other patients' images are not."""

import numpy as np
import pytest
from phantoms.evaluations import series

from pipeline.cohort.leaks import audit
from pipeline.cohort.slices import LENGTH, MOST_IMAGES, sharing, slice_digests
from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume


def volume(voxels: np.ndarray) -> Volume:
    whole = np.asarray(voxels, np.float32)[None]
    geometry = Geometry(shape=voxels.shape, unit="mm", affine=tuple(map(tuple, np.diag([0.7, 0.7, 3.0, 1.0]))))
    return Volume(voxels=whole, geometry=geometry, valid=np.ones(voxels.shape, bool), modality="CT")


def noise(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(200, 150, 10), (16, 12, 10), (7, 5, 10)])
def test_slices_are_known_again_wherever_they_stand(shape: tuple[int, int, int]) -> None:
    whole, other = noise(shape, 1), noise(shape, 2)
    images = [whole, other, whole[:, :, 1:], whole[:, :, ::-1][:, :, 3:], np.concatenate([other, whole], axis=2)]
    digests = [slice_digests(volume(one)) for one in images]
    assert [len(one) // LENGTH for one in digests] == [10, 10, 9, 7, 20]
    assert list(sharing(digests)) == [(0, 2), (0, 3), (0, 4), (1, 4), (2, 3), (2, 4), (3, 4)]


def test_a_few_slices_are_not_enough() -> None:
    whole = noise((16, 12, 10), 1)
    parts = [whole[:, :, :2], np.concatenate([whole[:, :, :4], noise((16, 12, 6), 3)], axis=2)]
    assert list(sharing([slice_digests(volume(one)) for one in (whole, *parts)])) == []
    assert list(sharing([])) == [] and list(sharing([b"", b""])) == []


def test_masks_and_even_slices_say_nothing() -> None:
    voxels = np.zeros((16, 12, 10))
    voxels[4:9, 3:8, 2:6] = 1
    assert slice_digests(volume(voxels)) == b""


def test_a_slice_of_very_many_images_is_no_anatomy() -> None:
    digest = slice_digests(volume(noise((16, 12, 4), 1)))
    assert len(list(sharing([digest] * MOST_IMAGES))) == MOST_IMAGES * (MOST_IMAGES - 1) // 2
    assert list(sharing([digest] * (MOST_IMAGES + 1))) == []


@pytest.mark.parametrize(
    ("patient", "split", "voxels", "leaks"),
    [
        ("P2", Split.TEST, "v2", 1),
        ("P1", Split.TRAIN, "v2", 0),
        ("P2", Split.TRAIN, "v2", 0),
        ("P2", Split.TEST, "", 1),
    ],
)
def test_slices_under_two_patients_in_two_splits_are_a_leak(
    patient: str, split: Split, voxels: str, leaks: int
) -> None:
    cases = [
        Case(
            case=f"C{n}",
            patient=who,
            study=f"T{n}",
            series=(series(f"{n}").model_copy(update={"series": f"S{n}", "digest": f"d{n}", "voxels": told}),),
            split=part,
        )
        for n, (who, part, told) in enumerate([("P1", Split.TRAIN, "v1"), (patient, split, voxels)])
    ]
    whole = noise((16, 12, 10), 1)
    slices = {"S0": slice_digests(volume(whole)), "S1": slice_digests(volume(whole[:, :, :9]))}
    told = f"most slices the same: P1 (train, case C0), {patient} ({split}, case C1)"
    assert [str(leak) for leak in audit(cases, None, slices=slices)] == [told] * leaks
