"""Strengths of augmentation: what the plan decides, why, and what is given instead."""

from pathlib import Path

import pytest
from phantoms.spheres import make_data, make_manifest
from phantoms.spheres import make_plan as plan_without_strengths
from preprocessing.test_planning import intensities, make_fingerprint, picture, plan_of, reason, spread

from pipeline.config import Settings
from pipeline.data.datamodule import CaseDataModule
from pipeline.data.settings import AugmentationChoice, AugmentationSettings, DataSettings
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.plan import Augmentation, Plan
from pipeline.preprocessing.cache import PreparedCache


def strengths(plan: Plan) -> Augmentation:
    assert plan.augmentation is not None
    return plan.augmentation


def test_nothing_is_ever_mirrored_by_a_plan() -> None:
    for fingerprint in (make_fingerprint(), picture(), make_fingerprint(modality="MR")):
        plan = plan_of(fingerprint)
        assert strengths(plan).flip_axes == ()
        assert "mirrored patient" in reason(plan, "flips")


def test_size_is_kept_where_the_scale_is_known() -> None:
    assert strengths(plan_of(make_fingerprint())).scale == 0
    assert strengths(plan_of(picture())).scale == 0.1


def test_masks_have_no_contrast_to_vary() -> None:
    values = intensities(0, 1, mean=0.3, std=(0.3 * 0.7) ** 0.5)
    plan = plan_of(make_fingerprint(intensities=values))
    assert strengths(plan).intensity_scale == strengths(plan).intensity_shift == 0
    assert reason(plan, "contrast") == "augmentation: a mask has no contrast to vary"
    assert strengths(plan).rotation == 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modality": "CT"}, 0.05),
        ({"modality": "MR"}, 0.1),
        ({"modality": "PT"}, 0.1),
        ({"modality": "PT", "suv": True}, 0.05),
    ],
)
def test_contrast_varies_less_where_values_have_a_unit(changes: dict[str, object], expected: float) -> None:
    chosen = strengths(plan_of(make_fingerprint(**changes)))
    assert chosen.intensity_scale == chosen.intensity_shift == expected


@pytest.mark.parametrize(
    ("fingerprint", "gamma", "bias_field"),
    [
        (make_fingerprint(), 0, 0),
        (make_fingerprint(modality="MR"), 0.3, 0.1),
        (make_fingerprint(modality="PT"), 0.3, 0),
        (make_fingerprint(modality="PT", suv=True), 0, 0),
        (picture(), 0.3, 0),
    ],
)
def test_curves_and_coils_follow_the_modality(fingerprint: Fingerprint, gamma: float, bias_field: float) -> None:
    chosen = strengths(plan_of(fingerprint))
    assert (chosen.gamma, chosen.bias_field) == (gamma, bias_field)
    assert chosen.elastic == chosen.blur == chosen.cutout == 0


def test_resolution_is_lost_where_the_scans_differ_in_it() -> None:
    alike, thick = spread(1.0), spread(1.0, 2.0, 5.0)
    for axes, lost in (((alike,) * 3, 0), ((alike, alike, thick), 0.5), ((spread(1.0, 1.2, 1.6), alike, alike), 0.4)):
        plan = plan_of(make_fingerprint(((28,), (28,), (28,)), (1.0, 1.0, 1.0)).model_copy(update={"spacing": axes}))
        assert strengths(plan).low_resolution == lost
    assert "differs (90th to 10th percentile: 1.6)" in reason(plan, "low_resolution")
    mask = make_fingerprint(intensities=intensities(0, 1, mean=0.3, std=(0.3 * 0.7) ** 0.5), modality="MR")
    chosen = strengths(plan_of(mask.model_copy(update={"spacing": (thick,) * 3})))
    assert chosen.low_resolution == chosen.gamma == chosen.bias_field == 0


def test_few_cases_turn_further_and_small_images_not_at_all() -> None:
    assert strengths(plan_of(make_fingerprint(cases=199))).rotation == 15
    assert strengths(plan_of(make_fingerprint(cases=200))).rotation == 10
    small = plan_of(picture(side=15))
    assert strengths(small).rotation == strengths(small).scale == 0
    assert "15 voxels along an axis" in reason(small, "rotation")


def test_shift_follows_the_shortest_axis() -> None:
    sides = {(28, 28, 28): 2, (8, 28, 28): 1, (64, 64, 48): 3}
    for size, expected in sides.items():
        assert strengths(plan_of(make_fingerprint(), size=list(size))).shift == expected
    assert strengths(plan_of(picture(side=500), size=[500, 500])).shift == 8


def test_given_strengths_win_and_the_others_are_the_plans() -> None:
    planned = Augmentation(shift=4, rotation=15.0, intensity_scale=0.05, intensity_shift=0.05)
    given = AugmentationChoice.model_validate({"rotation": 0, "flip_axes": [1]})
    settled = given.settled(planned)
    assert (settled.shift, settled.rotation, settled.flip_axes) == (4, 0, (1,))
    assert settled.intensity_scale == 0.05 and settled.noise == 0
    assert AugmentationChoice().settled(None) == AugmentationSettings()  # plans of before
    assert AugmentationSettings().settled(planned) == AugmentationSettings()


@pytest.mark.parametrize("settings", [AugmentationSettings, Augmentation])
def test_every_strength_may_be_planned_and_given(settings: type[Settings] | type[Augmentation]) -> None:
    assert list(settings.model_fields) == list(AugmentationChoice.model_fields)


def test_what_may_interpolate_is_known_before_the_plan() -> None:
    assert AugmentationChoice().interpolates and AugmentationChoice(rotation=0).interpolates
    assert not AugmentationChoice(rotation=0, scale=0).interpolates and not AugmentationSettings().interpolates


def test_a_plan_without_strengths_still_loads() -> None:
    old = plan_without_strengths().model_dump(mode="json")
    del old["augmentation"]
    assert Plan.model_validate(old).augmentation is None


def test_training_images_change_as_the_plan_says(tmp_path: Path) -> None:
    manifest = make_manifest(train=8, validation=4, ndim=2)
    make_data(tmp_path, manifest, ndim=2)
    still = Augmentation()
    for planned, changed in ((still, False), (Augmentation(intensity_shift=0.3), True)):
        plan = plan_without_strengths(2).model_copy(update={"augmentation": planned})
        data = CaseDataModule(manifest, PreparedCache(tmp_path, plan), DataSettings(), batch_size=4, seed=0)
        batch = next(iter(data.train_dataloader()))
        case = next(case for case in manifest.cases if case.case == batch.case_id[0])
        prepared = PreparedCache(tmp_path, plan).load(case)
        assert bool(abs(batch.image[0].numpy() - prepared).max() > 1e-3) == changed
