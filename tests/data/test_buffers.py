"""Memory of batches is used again, and never while anybody holds it."""

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.data.buffers import MOST_KEPT, Buffers

SHAPE = (3, 2, 5)


def filled(buffers: Buffers, value: float, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return buffers.take(shape).fill_(value)


def test_what_was_dropped_is_used_again() -> None:
    buffers = Buffers()
    first = filled(buffers, 1)
    place = first.data_ptr()
    del first
    assert buffers.take(SHAPE).data_ptr() == place
    smaller = buffers.take((2, 2, 5))
    assert smaller.shape == (2, 2, 5) and smaller.is_contiguous()


@pytest.mark.parametrize(
    "hold",
    [
        lambda image: image,
        lambda image: image[1],
        lambda image: image.numpy(),
        lambda image: image.numpy()[0, 1:],
        lambda image: image.view(-1)[3:],
        lambda image: image.detach().requires_grad_(),
        lambda image: image.untyped_storage(),
        lambda image: (image.clone().requires_grad_() * image).sum().grad_fn,
        lambda image: memoryview(image.numpy()),
    ],
)
def test_what_anybody_holds_is_left_alone(hold: Callable[[Tensor], object]) -> None:
    buffers = Buffers()
    image = filled(buffers, 1)
    place = image.data_ptr()
    held = hold(image)
    del image
    others = [filled(buffers, 2) for _ in range(MOST_KEPT + 2)]
    assert place not in {other.data_ptr() for other in others}
    assert len({other.data_ptr() for other in others}) == len(others)
    del held


def test_as_many_batches_as_anybody_wants_keep_what_they_hold() -> None:
    buffers = Buffers()
    batches = [filled(buffers, value, (value % 3 + 1, 2, 5)) for value in range(12)]
    for value, batch in enumerate(batches):
        assert torch.equal(batch, torch.full_like(batch, value))
    assert len(buffers._arrays) <= MOST_KEPT


def test_a_batch_that_goes_to_another_process_is_a_copy() -> None:
    """As a worker process hands its batches over: what it writes next must not show in them."""
    buffers = Buffers()
    sent = ForkingPickler.dumps(filled(buffers, 1))
    for value in (2, 3):
        filled(buffers, value)
    received: Tensor = pickle.loads(sent)
    assert torch.equal(received, torch.ones(SHAPE)), multiprocessing.get_start_method()
    np.testing.assert_array_equal(received.numpy(), 1)
