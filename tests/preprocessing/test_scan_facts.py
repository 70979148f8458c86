"""What is measured of a scan as it was read, by closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from phantoms.packages import make_plan

from pipeline.domain.geometry import Geometry
from pipeline.domain.terms import known_body_part
from pipeline.domain.volume import Volume
from pipeline.preprocessing.appearance import appearance, negative
from pipeline.preprocessing.scan_facts import VOXELS, measure_facts
from pipeline.preprocessing.thinning import thinned
from pipeline.preprocessing.transforms import prepare


def coronal() -> Volume:
    """Values 0 to 2399; stored axes run to the right, to the feet, to the front; 1, 2 and 3 mm."""
    voxels = np.arange(2400, dtype=np.float32).reshape(1, 10, 12, 20)
    affine = np.array([[1.0, 0, 0, 0], [0, 0, 3.0, 0], [0, -2.0, 0, 0], [0, 0, 0, 1]])
    return Volume(voxels, Geometry.from_matrix((10, 12, 20), affine), "MR", body_part="KNEE")


def test_geometry_is_in_the_order_of_the_patient() -> None:
    facts = measure_facts(coronal())
    assert (facts.modality, facts.body_part, facts.shape) == ("MR", "KNEE", (10, 20, 12))
    assert facts.spacing == pytest.approx((1, 3, 2)) and facts.extent == pytest.approx((10, 60, 24))


def test_intensities_are_those_of_valid_voxels() -> None:
    facts = measure_facts(coronal())
    assert facts.mean == pytest.approx(1199.5) and facts.std == pytest.approx(np.sqrt((2400**2 - 1) / 12))
    assert facts.percentiles == pytest.approx([2399 * p / 100 for p in (0.5, 5, 25, 50, 75, 95, 99.5)])
    assert facts.skewness == pytest.approx(0, abs=1e-9) and facts.lowest == pytest.approx(1 / 2400)
    padded = replace(coronal(), valid=coronal().voxels[0] >= 1000)
    assert measure_facts(padded).percentiles[3] == pytest.approx((1000 + 2399) / 2)
    flat = replace(coronal(), voxels=np.full((1, 10, 12, 20), 7, np.float32))
    found = measure_facts(flat)
    assert (found.mean, found.std, found.skewness, found.lowest) == (7, 0, 0, 1)
    nothing = replace(coronal(), valid=np.zeros((10, 12, 20), np.bool_))
    assert measure_facts(nothing).lowest == 1


def test_large_images_are_thinned_alike_along_each_axis() -> None:
    image = np.zeros((512, 512, 300), np.int8)
    assert VOXELS / 8 < thinned(image, VOXELS).size <= VOXELS
    assert thinned(image, VOXELS, keep=2).shape[2] == 300
    assert thinned(image[:8, :8, :8], VOXELS).shape == (8, 8, 8)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_negative_is_what_preparing_the_negative_scan_gives(ndim: int) -> None:
    rng = np.random.default_rng(0)
    shape = (9, 7, 6 if ndim == 3 else 1)
    voxels = rng.uniform(-100, 300, (1, *shape)).astype(np.float32)
    voxels.flat[:2] = -100, 300
    scan = Volume(voxels, Geometry.from_matrix(shape, np.diag([2.0, 2.0, 2.0, 1.0])), "CT")
    turned_over = replace(scan, voxels=200 - voxels)
    plan = make_plan(ndim)
    np.testing.assert_allclose(negative(prepare(scan, plan)), prepare(turned_over, plan), atol=1e-6)


def test_texture_tells_noise_from_smooth_and_says_where_the_mass_lies() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(1, 20, 20)).astype(np.float32)
    ramp = np.tile(np.linspace(0, 1, 20, dtype=np.float32)[:, None], (1, 20))[None]
    first = appearance(noise).texture[12]  # log of rms difference by deviation, along the first axis
    assert first == pytest.approx(np.log(np.sqrt(2)), abs=0.1)
    assert appearance(ramp).texture[12] < first - 1.5
    centre = [value for value in appearance(ramp).texture if abs(value) > 0.1]
    assert centre
    assert np.isfinite(appearance(np.zeros((3, 12, 10, 8), np.float32)).texture).all()
    assert not appearance(np.zeros((3, 12, 10, 8), np.float32)).layout.any()


def test_body_parts_are_defined_terms() -> None:
    assert known_body_part(" head ") == "HEAD"
    assert known_body_part("TIBIA/FIBULA") == known_body_part("TIBIA_FIBULA") == "TIBIAFIBULA"
    assert known_body_part("Miller") == ""
