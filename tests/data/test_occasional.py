"""Changes that only some images undergo: closed forms, what stays as it is, and the same draw whatever surrounds it."""

import numpy as np
import pytest
import torch
from data.test_augmentation import OFF, identity, images
from scipy import ndimage

from pipeline.data.augmentation import augment, augment_batch
from pipeline.data.draws import OCCASIONAL, draw
from pipeline.data.occasional import CHANGES, change_occasionally
from pipeline.data.settings import AugmentationSettings

ALL = {"elastic": 1.0, "low_resolution": 0.5, "blur": 1.0, "bias_field": 0.1, "gamma": 0.3, "cutout": 0.4}


def settings(**changes: object) -> AugmentationSettings:
    return AugmentationSettings.model_validate(OFF | {"occasional_probability": 1.0} | changes)


def changed(image: torch.Tensor, name: str, strength: float, seed: int = 0) -> torch.Tensor:
    one = identity(image.ndim - 1, occasions=(name,), seed=seed)
    return change_occasionally(image.clone(), one, settings(**{name: strength}))


def test_every_change_has_a_strength_and_a_place_in_the_order() -> None:
    assert tuple(CHANGES) == OCCASIONAL == tuple(ALL)


@pytest.mark.parametrize("name", OCCASIONAL)
@pytest.mark.parametrize("shape", [(3, 24, 20), (2, 20, 22, 24), (1, 1, 30, 30), (1, 2, 3), (1, 1, 1)])
def test_plain_float32_of_the_same_shape_comes_out_also_of_tiny_images(name: str, shape: tuple[int, ...]) -> None:
    out = changed(images(*shape), name, ALL[name], seed=3)
    assert type(out) is torch.Tensor and out.dtype == torch.float32 and out.shape == shape
    assert out.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 40, 48), (1, 24, 28, 32), (1, 16, 40, 40)])
@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_elastic_moves_by_as_many_voxels_as_asked(shape: tuple[int, ...], strength: float) -> None:
    """A ramp tells, after the change, where each voxel came from."""
    axis = torch.arange(shape[-1], dtype=torch.float32).expand(shape).contiguous()
    inner = (slice(None), *(slice(6, -6) for _ in shape[1:]))
    moved = np.stack([(changed(axis, "elastic", strength, seed) - axis)[inner].numpy() for seed in range(24)])
    assert abs(moved.mean()) < 0.2 * strength
    assert moved.std() == pytest.approx(strength, rel=0.15)
    steps = np.abs(np.diff(moved, axis=-1))
    assert steps.mean() < 0.5 * strength, "neighbours move together"


def test_gamma_is_a_power_between_the_darkest_and_the_brightest() -> None:
    x = images(1, 16, 16)
    low, high = float(x.min()), float(x.max())
    exponents = []
    for seed in range(60):
        out = changed(x, "gamma", 0.5, seed)
        share, bent = (x - low) / (high - low), (out - low) / (high - low)
        inner = (share > 0.1) & (share < 0.9)
        found = bent[inner].log() / share[inner].log()
        assert float(found.max() - found.min()) < 1e-3, "one exponent for all"
        exponents.append(float(found.mean()))
    assert 1 / 1.5 <= min(exponents) < 0.75 and 1.35 < max(exponents) <= 1.5
    assert abs(np.mean(np.log(exponents))) < 0.1, "as often darker as brighter"


def test_blur_is_a_gaussian() -> None:
    x = torch.zeros(1, 41, 41)
    x[0, 20, 20] = 1.0
    widths = []
    for seed in range(30):
        out = changed(x, "blur", 2.0, seed)[0].numpy()
        assert out.sum() == pytest.approx(1, abs=1e-3)
        across = np.arange(41) - 20.0
        widths.append(float(np.sqrt((out.sum(0) * across**2).sum())))
        if widths[-1] > 0.8:
            expected = ndimage.gaussian_filter(x[0].numpy(), widths[-1], truncate=6)
            np.testing.assert_allclose(out, expected, atol=0.02)
    assert max(widths) <= 2.1 and max(widths) - min(widths) > 1


@pytest.mark.parametrize("name", OCCASIONAL)
@pytest.mark.parametrize("shape", [(2, 24, 20), (1, 14, 16, 18)])
def test_what_is_the_same_everywhere_stays_so(name: str, shape: tuple[int, ...]) -> None:
    """No frame, no wave: a network would learn them."""
    x = torch.full(shape, -1.0)
    for seed in range(5):
        torch.testing.assert_close(changed(x, name, ALL[name], seed), x, atol=1e-5, rtol=0)


def test_a_bias_field_multiplies_what_stands_above_no_signal() -> None:
    x = torch.full((2, 20, 20, 20), 3.0)
    x[:, :2] = -1.0
    out = changed(x, "bias_field", 0.2)
    assert torch.equal(out[:, :2], x[:, :2]), "no signal stays none"
    field = ((out + 1) / (x + 1))[:, 2:]
    torch.testing.assert_close(field[0], field[1])
    assert float(field.std()) > 0.05 and (field > 0).all()
    assert not torch.equal(field[0, :, 0], field[0, :, -1])
    assert float((field[:, 1:] - field[:, :-1]).abs().max()) < 0.3, "smooth"


@pytest.mark.parametrize("shape", [(1, 32, 36), (1, 20, 22, 24)])
def test_low_resolution_loses_what_is_fine_and_moves_nothing(shape: tuple[int, ...]) -> None:
    """A ramp along each axis tells where voxels came from; stripes are too fine to be kept."""
    inner = (0, *(slice(4, -4) for _ in shape[1:]))
    for axis in range(1, len(shape)):
        places = torch.arange(shape[axis], dtype=torch.float32)
        ramp = places.view([-1 if number == axis else 1 for number in range(len(shape))]).expand(shape).contiguous()
        stripes = (ramp % 2) * 2 - 1
        lost = []
        for seed in range(40):
            moved = (changed(ramp, "low_resolution", 0.6, seed) - ramp)[inner]
            assert abs(float(moved.mean())) < 0.02 and float(moved.abs().max()) <= 0.5
            lost.append(1 - float(changed(stripes, "low_resolution", 0.6, seed).abs()[inner].mean()))
        assert min(lost) < 0.05 or len(shape) == 3
        assert np.mean(np.array(lost) > 0.3) > (0.6 if len(shape) == 3 else 0.15)


def test_in_3d_one_axis_loses_resolution() -> None:
    noise = images(1, 24, 24, 24)
    axes = set()
    for seed in range(20):
        out = changed(noise, "low_resolution", 0.6, seed)
        rough = [float((out.diff(dim=axis)).std()) / float(noise.diff(dim=axis).std()) for axis in (1, 2, 3)]
        if min(rough) < 0.5:
            axes.add(int(np.argmin(rough)))
            assert sorted(rough)[1] > 1.4 * min(rough)
    assert axes == {0, 1, 2}


def test_channels_keep_their_own_range() -> None:
    x = torch.stack([torch.linspace(-1, 1, 400), torch.linspace(10, 12, 400)]).view(2, 20, 20)
    bent = changed(x, "gamma", 0.5)
    torch.testing.assert_close(bent.amin((1, 2)), x.amin((1, 2)))
    torch.testing.assert_close(bent.amax((1, 2)), x.amax((1, 2)))
    hidden = changed(x, "cutout", 0.5)
    for channel, mean in ((0, 0.0), (1, 11.0)):
        torch.testing.assert_close(hidden[channel][hidden[channel] != x[channel]].unique(), torch.tensor([mean]))


@pytest.mark.parametrize("name", OCCASIONAL)
def test_threads_change_no_bit(name: str) -> None:
    """At a size that torch shares out."""
    x = images(1, 40, 44, 48)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(changed(x, name, ALL[name]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_cutout_hides_one_box_with_the_mean() -> None:
    x = images(2, 20, 30)
    sides = []
    for seed in range(50):
        out = changed(x, "cutout", 0.5, seed)
        hidden = np.argwhere((out != x).any(0).numpy())
        first, last = hidden.min(0), hidden.max(0) + 1
        assert len(hidden) == np.prod(last - first), "a box"
        inside = out[:, first[0] : last[0], first[1] : last[1]].reshape(2, -1)
        torch.testing.assert_close(inside, x.mean((1, 2))[:, None].expand_as(inside))
        sides.append((last - first) / (20, 30))
    assert np.max(sides) <= 0.5 and np.max(sides) > 0.4 and np.min(sides) >= 0.2


def test_as_many_images_change_as_the_probability_says_and_each_by_itself() -> None:
    chosen = settings(occasional_probability=0.3, **ALL)
    draws = [draw(chosen, 3, seed=0, epoch=0, case=str(n)) for n in range(2000)]
    has = np.array([[name in one.occasions for name in OCCASIONAL] for one in draws])
    assert np.abs(has.mean(0) - 0.3).max() < 0.05
    assert np.abs(np.corrcoef(has.T) - np.eye(len(OCCASIONAL))).max() < 0.1
    fewer = chosen.model_copy(update={"blur": 0.0})
    for number, one in enumerate(draws[:50]):
        without = draw(fewer, 3, seed=0, epoch=0, case=str(number))
        assert without == one._replace(occasions=tuple(name for name in one.occasions if name != "blur"))


@pytest.mark.parametrize("shape", [(1, 18, 20), (1, 12, 13, 14)])
def test_a_case_is_changed_alike_in_any_batch_and_on_a_device(shape: tuple[int, ...]) -> None:
    chosen = settings(occasional_probability=0.5, noise=0.1, rotation=10, intensity_shift=0.1, **ALL)
    x, ndim = images(6, *shape), len(shape) - 1
    kept, spacing = x.clone(), (1.0, 2.0, 3.0)[:ndim]
    draws = [draw(chosen, ndim, seed=1, epoch=2, case=f"C{n}") for n in range(6)]
    together = augment(x, draws, chosen, spacing)
    for order in ([4], [5, 4, 1]):
        part = augment(x[order], [draws[n] for n in order], chosen, spacing)
        assert torch.equal(part[order.index(4)], together[4])
    torch.testing.assert_close(augment_batch(x, draws, chosen, spacing), together, atol=1e-3, rtol=0)
    assert torch.equal(x, kept)


def test_noise_comes_after_the_blur() -> None:
    chosen = settings(blur=3.0, noise=1.0)
    one = identity(2, noise=1.0, seed=1, occasions=("blur",))
    out = augment(torch.zeros(1, 1, 64, 64), [one], chosen)
    assert float(out.std()) == pytest.approx(1, rel=0.1)
