"""The gate on breast ultrasound (BreastMNIST), images alone; with networks in tests/benchmarks/scope.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.bodies import sample
from phantoms.packages import make_plan
from PIL import Image

from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.plan import Window
from pipeline.domain.volume import Volume
from pipeline.scope.fitting import fit_reference
from pipeline.scope.gate import Gate

PLAN = make_plan(2).model_copy(
    update={
        "modality": "US",
        "unit": Unit.PIXEL,
        "spacing": None,
        "size": (28, 28),
        "intensity": Window(low=0, high=255),
    }
)

Pixels = NDArray[np.uint8]


def picture(pixels: NDArray[np.generic]) -> Volume:
    grid = Geometry.from_matrix((28, 28, 1), np.eye(4), Unit.PIXEL)
    return Volume(np.ascontiguousarray(pixels.T[None, :, :, None], dtype=np.float32), grid, "US")


@pytest.mark.long
@pytest.mark.shared_data
def test_breast_ultrasound(shared_data: Path) -> None:
    images = np.load(shared_data / "medmnist" / "breastmnist.npz")
    training, validation = (
        [sample(picture(one), PLAN, f"{split}{number}") for number, one in enumerate(images[f"{split}_images"])]
        for split in ("train", "val")
    )
    reference = fit_reference(training, validation)
    assert reference is not None
    gate = Gate(reference)

    def refused(pictures: list[Volume]) -> float:
        return float(np.mean([gate.refuses(sample(one, PLAN, "").scan) for one in pictures]))

    test = images["test_images"]
    assert refused([picture(one) for one in test]) < 0.05
    rng = np.random.default_rng(0)
    spoiled: dict[str, Callable[[Pixels], NDArray[np.generic]]] = {
        "inverted": lambda x: x.max() - x + x.min(),
        "noise": lambda x: rng.normal(x.mean(), x.std(), x.shape).clip(0, 255),
        "blank": lambda x: np.full_like(x, x.mean()),
        "up-down": lambda x: x[::-1],
        "exchanged": lambda x: x.T,
    }
    for name, spoil in spoiled.items():
        assert refused([picture(spoil(one)) for one in test]) >= 0.95, name
    for folder in ("CXR", "HeadCT", "Hand", "BreastMRI"):
        paths = sorted((shared_data / "mednist" / folder).glob("*.jpeg"))[:60]
        others = [picture(np.asarray(Image.open(path).convert("L").resize((28, 28)))) for path in paths]
        assert refused(others) >= 0.95, folder
    sides = next(turn for turn in reference.orientation.turns if (turn.order, turn.flipped) == ((0, 1), (0,)))  # type: ignore[union-attr]
    assert sides.told < 0.9, "a breast is seen from either side"
