"""Mixup and cutmix: known voxels, shares that are volumes, draws that a resumed run repeats."""

import numpy as np
import pytest
import torch

from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.losses import FindingsLoss
from pipeline.training.mixing import Mix, draw_mix
from pipeline.training.mixing_settings import MixingSettings

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
MIXUP = MixingSettings(mixup=0.4)
CUTMIX = MixingSettings(cutmix=1.0)
PLACE = [1, 2, 3, 0]


def draw(settings: MixingSettings, batch: int = 3, cases: int = 7, space: tuple[int, ...] = (12, 9, 10)) -> Mix | None:
    return draw_mix(settings, cases, space, [1, 2, batch, 0], epochs_left=5)


def test_mixup_is_a_weighted_mean_of_pairs() -> None:
    images = torch.randn(3, 2, 4, 5)
    mixed = Mix(partner=(2, 0, 1), share=0.7).images(images)
    for case, other in enumerate((2, 0, 1)):
        torch.testing.assert_close(mixed[case], 0.7 * images[case] + 0.3 * images[other])


@pytest.mark.parametrize("space", [(11, 13), (12, 9, 10)])
def test_cutmix_takes_a_box_whose_volume_is_the_share(space: tuple[int, ...]) -> None:
    images = torch.arange(5.0).view(5, 1, *(1,) * len(space)).expand(5, 2, *space).contiguous()
    shares = set()
    for batch in range(50):
        mix = draw(CUTMIX, batch, 5, space)
        assert mix is not None
        mixed = mix.images(images)
        for case, other in enumerate(mix.partner):
            foreign = mixed[case] == other
            assert foreign[0].float().mean() == pytest.approx(1 - mix.share, abs=1e-6)
            assert (foreign | (mixed[case] == case)).all()
            places = foreign[0].nonzero()
            if len(places):
                assert len(places) == (places.max(0).values - places.min(0).values + 1).prod()  # a box, without holes
        shares.add(round(mix.share, 3))
    assert len(shares) > 20 and images.unique().tolist() == [0, 1, 2, 3, 4]


def test_boxes_reach_every_voxel_and_keep_the_proportions_of_the_image() -> None:
    covered, widths = torch.zeros(16, 8), []
    for batch in range(300):
        mix = draw(CUTMIX, batch, 2, (16, 8))
        assert mix is not None
        covered[mix.box] += 1
        rows, columns = (part.stop - part.start for part in mix.box)
        whole = mix.box[0].start > 0 and mix.box[0].stop < 16 and mix.box[1].start > 0 and mix.box[1].stop < 8
        if whole and columns:
            widths.append(rows / columns)
    assert covered.min() > 0
    assert 1.5 < np.mean(widths) < 3.0  # 16 by 8, in whole voxels


def test_every_case_has_another_as_its_partner_once() -> None:
    for batch in range(30):
        mix = draw(MIXUP, batch)
        assert mix is not None and sorted(mix.partner) == list(range(7))
        assert all(case != other for case, other in enumerate(mix.partner))
    two = draw(MIXUP, cases=2)
    assert two is not None and two.partner == (1, 0)


def test_shares_are_drawn_from_beta() -> None:
    shares = [mix.share for batch in range(2000) if (mix := draw(MIXUP, batch)) is not None]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.08)  # of Beta(a, a)


def test_draws_follow_from_the_place_alone() -> None:
    both = MixingSettings(mixup=0.4, cutmix=1.0)
    first = draw_mix(both, 7, (12, 9), PLACE, 5)
    torch.rand(5), np.random.rand(5)
    assert draw_mix(both, 7, (12, 9), PLACE, 5) == first
    for number in range(4):
        other = [value + (index == number) for index, value in enumerate(PLACE)]
        assert draw_mix(both, 7, (12, 9), other, 5) != first


def test_switch_probability_and_pure_epochs() -> None:
    both = MixingSettings(mixup=0.4, cutmix=1.0, probability=0.5, switch=0.25)
    mixes = [draw(both, batch) for batch in range(2000)]
    mixed = [mix for mix in mixes if mix is not None]
    assert len(mixed) / 2000 == pytest.approx(0.5, abs=0.04)
    assert np.mean([bool(mix.box) for mix in mixed]) == pytest.approx(0.25, abs=0.04)
    ending = MixingSettings(mixup=0.4, pure_epochs=2)
    assert [draw_mix(ending, 7, (9, 9), PLACE, left) is None for left in (4, 3, 2, 1)] == [False, False, True, True]
    assert draw(MixingSettings()) is None


def test_a_case_alone_stays_as_it_is() -> None:
    assert draw(MIXUP, cases=1) is None and draw(CUTMIX, cases=1) is None


def test_unknown_labels_are_left_out_on_each_side() -> None:
    """Labels 1, unknown, 0 in a ring: the first mean is over cases 0 and 2, the second over those partners."""
    logits, labels = torch.tensor([[0.3], [1.2], [-0.8]]), torch.tensor([[1], [-1], [0]])
    mix, loss = Mix(partner=(1, 2, 0), share=0.6), FindingsLoss([LESION])
    value = mix.loss(loss, logits, labels)

    def cross_entropy(logit: float, label: int) -> float:
        return float(np.logaddexp(0, -logit if label else logit))

    own = (cross_entropy(0.3, 1) + cross_entropy(-0.8, 0)) / 2
    other = (cross_entropy(1.2, 0) + cross_entropy(-0.8, 1)) / 2
    assert float(value) == pytest.approx(0.6 * own + 0.4 * other, rel=1e-6)


def test_messages_name_both() -> None:
    assert Mix(partner=(2, 0, 1), share=0.7).names(["A", "B", "C"]) == ["A with C", "B with A", "C with B"]
