"""Known voxels under each change; the same draw whatever surrounds the case."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.data import augmentation
from pipeline.data.augmentation import augment, augment_batch
from pipeline.data.draws import Draw, draw
from pipeline.data.settings import AugmentationSettings

OFF = {"shift": 0, "intensity_scale": 0.0, "intensity_shift": 0.0}
STRONG = AugmentationSettings(
    flip_axes=(0, 1, 2), shift=3, rotation=20, scale=0.2, intensity_scale=0.2, intensity_shift=0.2, noise=0.1
)


def identity(ndim: int, **changes: object) -> Draw:
    start = Draw((False,) * ndim, (0,) * ndim, (0.0,) * (3 if ndim == 3 else 1), 1.0, 1.0, 0.0, 0.0, 0)
    return start._replace(**changes)


def images(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def settings(**changes: object) -> AugmentationSettings:
    return AugmentationSettings.model_validate(OFF | changes)


@pytest.mark.parametrize("interpolating", [False, True])
def test_flips_and_shifts_move_known_voxels(interpolating: bool) -> None:
    x = images(2, 2, 6, 7, 8)
    one = identity(3, flips=(True, False, False), shift=(0, 2, -1))
    chosen = settings(flip_axes=(0,), shift=2, rotation=5.0 if interpolating else 0.0)
    out = augment(x, [identity(3), one], chosen)
    torch.testing.assert_close(out[0], x[0], atol=2e-6, rtol=0)
    expected = x[1].flip(1)
    torch.testing.assert_close(out[1, :, :, 2:, :-1], expected[:, :, :-2, 1:], atol=2e-6, rtol=0)
    torch.testing.assert_close(out[1, :, :, 0, :-1], expected[:, :, 0, 1:], atol=2e-6, rtol=0)


def test_quarter_turns_are_exact() -> None:
    x = images(1, 1, 9, 9)
    out = augment(x, [identity(2, angles=(np.pi / 2,))], settings(rotation=90))
    expected = x[0, 0].flip(1).T  # axis 0 turns towards axis 1
    torch.testing.assert_close(out[0, 0, 1:-1, 1:-1], expected.contiguous()[1:-1, 1:-1], atol=1e-4, rtol=0)
    cube = images(1, 1, 7, 7, 7)
    about_first = augment(cube, [identity(3, angles=(np.pi / 2, 0.0, 0.0))], settings(rotation=90))[0, 0]
    torch.testing.assert_close(
        about_first[1:-1, 1:-1, 1:-1], cube[0, 0].flip(2).transpose(1, 2)[1:-1, 1:-1, 1:-1], atol=1e-4, rtol=0
    )


def test_affine_agrees_with_scipy() -> None:
    """An independent resampler, with anisotropic spacing: the rotation is one in millimetres."""
    x = images(1, 1, 14, 15, 16)
    x = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 2, 2, 2)))
    spacing = np.array([1.0, 2.0, 0.5])
    one = identity(3, angles=(0.0, 0.0, 0.3), scale=1.1, shift=(1, -1, 2))
    out = augment(x, [one], settings(rotation=20, scale=0.2, shift=2), tuple(spacing))[0, 0].numpy()
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    inverse = np.diag(1 / spacing) @ np.linalg.inv(1.1 * turn) @ np.diag(spacing)
    centre = (np.array(x.shape[2:]) - 1) / 2
    offset = centre - inverse @ (centre + np.array(one.shift))
    expected = ndimage.affine_transform(x[0, 0].numpy(), inverse, offset=offset, order=1, mode="nearest")
    np.testing.assert_allclose(out, expected, atol=2e-4)


def test_scale_enlarges() -> None:
    x = torch.zeros(1, 1, 21, 21)
    x[..., 8:13, 8:13] = 1.0
    out = augment(x, [identity(2, scale=2.0)], settings(scale=0.5))
    assert out.sum() == pytest.approx(100, rel=0.02)


def test_intensity_is_gain_and_offset() -> None:
    x = images(2, 1, 4, 4)
    draws = [identity(2, gain=1.1, offset=-0.2), identity(2)]
    out = augment(x, draws, settings(intensity_scale=0.1, intensity_shift=0.2))
    torch.testing.assert_close(out[0], x[0] * 1.1 - 0.2)
    torch.testing.assert_close(out[1], x[1])


def test_noise_has_the_drawn_deviation() -> None:
    x = torch.zeros(1, 1, 64, 64)
    out = augment(x, [identity(2, noise=0.5, seed=7)], settings(noise=0.5))
    assert float(out.std()) == pytest.approx(0.5, rel=0.05) and abs(float(out.mean())) < 0.03


@pytest.mark.parametrize("shape", [(1, 12, 13), (1, 9, 10, 11)])
@pytest.mark.parametrize("chosen", [STRONG, AugmentationSettings(flip_axes=(0, 1), noise=0.1)])
def test_a_case_is_changed_alike_in_any_batch(shape: tuple[int, ...], chosen: AugmentationSettings) -> None:
    x = images(9, *shape)
    draws = [draw(chosen, len(shape) - 1, seed=1, epoch=2, case=f"C{n}") for n in range(9)]
    together = augment(x, draws, chosen, (1.0, 2.0, 3.0)[: len(shape) - 1])
    for order in ([4], [8, 4, 1], [0, 1, 2, 3, 4, 5, 6]):
        part = augment(x[order], [draws[n] for n in order], chosen, (1.0, 2.0, 3.0)[: len(shape) - 1])
        assert torch.equal(part[order.index(4)], together[4])


def test_draws_follow_from_seed_epoch_case_and_repeat() -> None:
    start = {"seed": 1, "epoch": 2, "case": "C1", "repeat": 0}
    first = draw(STRONG, 3, **start)
    assert draw(STRONG, 3, **start) == first
    for change in ({"seed": 2}, {"epoch": 3}, {"case": "C2"}, {"repeat": 1}):
        assert draw(STRONG, 3, **(start | change)) != first


def test_draws_stay_within_their_strengths_and_use_them() -> None:
    draws = [draw(STRONG, 3, seed=0, epoch=0, case=str(n)) for n in range(400)]
    assert {one.shift[0] for one in draws} == set(range(-3, 4))
    assert 0.4 < np.mean([one.flips for one in draws]) < 0.6
    angles = np.rad2deg([one.angles for one in draws])
    assert 18 < np.abs(angles).max() <= 20
    assert all(0.8 <= one.scale <= 1.2 and 0.8 <= one.gain <= 1.2 and abs(one.offset) <= 0.2 for one in draws)
    only_second = AugmentationSettings(flip_axes=(1,))
    assert not any(
        flips[0] or flips[2] for flips in (draw(only_second, 3, seed=0, epoch=0, case=str(n)).flips for n in range(99))
    )


@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-1, 0), (4, -5), (9, -9)])
def test_shifts_repeat_the_edge(shift: tuple[int, int]) -> None:
    x = images(1, 2, 5, 6)
    out = augment(x, [identity(2, shift=shift, flips=(False, True))], settings(flip_axes=(1,), shift=9))
    rows, columns = (np.clip(np.arange(n) - s, 0, n - 1) for n, s in zip((5, 6), shift, strict=True))
    np.testing.assert_array_equal(out[0], x[0].flip(2).numpy()[:, rows][:, :, columns])


def test_all_off_changes_nothing_and_the_input_is_never_changed() -> None:
    x = images(2, 1, 5, 6, 7)
    kept = x.clone()
    none = settings()
    assert torch.equal(augment(x, [draw(none, 3, seed=0, epoch=0, case=str(n)) for n in range(2)], none), kept)
    augment(x, [draw(STRONG, 3, seed=0, epoch=0, case=str(n)) for n in range(2)], STRONG)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("shape", [(1, 12, 13), (3, 1, 9), (2, 9, 10, 11)])
@pytest.mark.parametrize("chosen", [STRONG, AugmentationSettings(flip_axes=(0, 1), shift=3, noise=0.1)])
def test_a_device_changes_a_batch_as_the_processor_does(shape: tuple[int, ...], chosen: AugmentationSettings) -> None:
    x, spacing = images(5, *shape), (1.0, 2.0, 3.0)[: len(shape) - 1]
    draws = [draw(chosen, len(shape) - 1, seed=1, epoch=2, case=f"C{n}") for n in range(5)]
    torch.testing.assert_close(
        augment_batch(x, draws, chosen, spacing), augment(x, draws, chosen, spacing), atol=3e-5, rtol=0
    )


def test_without_the_compiled_kernel_torch_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(3, 1, 9, 10, 11)
    draws = [draw(STRONG, 3, seed=1, epoch=2, case=f"C{n}") for n in range(3)]
    compiled = augment(x, draws, STRONG)
    monkeypatch.setattr(augmentation, "kernel", lambda: None)
    torch.testing.assert_close(augment(x, draws, STRONG), compiled, atol=3e-5, rtol=0)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(7, 2, 8, 9, 10)
    draws = [draw(STRONG, 3, seed=1, epoch=2, case=f"C{n}") for n in range(7)]
    alone = augment(x, draws, STRONG)
    monkeypatch.setattr(augmentation, "WORTH_A_THREAD", 1)
    for threads in (2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(augment(x, draws, STRONG), alone)


@pytest.mark.parametrize("chosen", [STRONG, AugmentationSettings(flip_axes=(0, 1), shift=3)])
@pytest.mark.parametrize("compiled", [True, False])
def test_half_voxels_are_changed_as_the_same_numbers_in_float32(
    monkeypatch: pytest.MonkeyPatch, chosen: AugmentationSettings, compiled: bool
) -> None:
    """More values an image than torch changes at once, on threads that each have a room of their own."""
    half = images(5, 1, 26, 27, 28).half()
    draws = [draw(chosen, 3, seed=1, epoch=2, case=f"C{n}") for n in range(5)]
    monkeypatch.setattr(augmentation, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if not compiled:
        monkeypatch.setattr(augmentation, "kernel", lambda: None)
    kept = half.clone()
    assert torch.equal(augment(list(half), draws, chosen), augment(half.float(), draws, chosen))
    assert torch.equal(half, kept)
