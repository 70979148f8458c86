"""What every engine must do; a new file in the folder arrives under test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from phantoms.packages import OUTPUTS, make_package

from pipeline.config import Part, parts
from pipeline.engines.engine import Engine
from pipeline.package.package import ModelPackage

PARTS = parts("pipeline.engines")


@pytest.fixture(scope="module", params=[(2, 1), (3, 1), (2, 3)], ids=["2D", "3D", "2D ensemble"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    ndim, members = request.param
    return make_package(tmp_path_factory.mktemp("engines") / "package", ndim=ndim, members=members)


@pytest.fixture(scope="module", params=[config for _, config in PARTS], ids=[name for name, _ in PARTS])
def config(request: pytest.FixtureRequest) -> type[Part]:
    found: type[Part] = request.param
    return found


@pytest.fixture(scope="module")
def engine(config: type[Part], package: ModelPackage) -> Engine:
    built: Engine = config().build(package)  # type: ignore[attr-defined]
    return built


def images(package: ModelPackage, count: int) -> NDArray[np.float32]:
    shape = (count, package.plan.channels, *package.plan.size)
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def reference(package: ModelPackage, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the members' logits."""
    with torch.inference_mode():
        rows = [classifier(torch.tensor(batch)).numpy() for classifier in package.build_classifiers()]
    assert len(rows) == package.members
    logits: NDArray[np.float32] = sum(rows[1:], rows[0]) / len(rows)
    return logits


def test_it_is_named_after_its_file(engine: Engine) -> None:
    assert engine.name in dict(PARTS)


def test_it_equals_a_plain_forward_of_the_classifier(engine: Engine, package: ModelPackage) -> None:
    batch = images(package, 5)

    logits = engine.answer(batch).logits

    assert (logits.shape, logits.dtype) == ((5, OUTPUTS), np.float32)
    np.testing.assert_allclose(logits, reference(package, batch), atol=1e-5, rtol=0)
    assert np.ptp(logits, axis=0).max() > 1e-3, "all images give the same answer: this test sees nothing"


def test_features_are_what_the_heads_of_the_first_member_see(engine: Engine, package: ModelPackage) -> None:
    batch = images(package, 3)
    with torch.inference_mode():
        rows = package.build_classifiers()[0].backbone(torch.tensor(batch)).numpy()

    features = engine.answer(batch).features

    assert (features.dtype, len(features)) == (np.float32, 3)
    np.testing.assert_allclose(features, rows, atol=1e-5, rtol=0)


def test_neighbours_in_the_batch_change_no_bit(engine: Engine, package: ModelPackage) -> None:
    batch = images(package, 5)
    alone = [engine.answer(image[np.newaxis]).logits.tobytes() for image in batch]

    assert [row.tobytes() for row in engine.answer(batch).logits] == alone
    assert [row.tobytes() for row in engine.answer(batch[::-1]).logits] == alone[::-1]


def test_a_second_run_gives_the_same_bits(engine: Engine, package: ModelPackage) -> None:
    batch = images(package, 2)

    assert engine.answer(batch).logits.tobytes() == engine.answer(batch).logits.tobytes()


def test_no_images_give_no_rows(engine: Engine, package: ModelPackage) -> None:
    assert engine.answer(images(package, 0)).logits.shape == (0, OUTPUTS)


def test_a_read_only_memory_map_is_taken_and_left_alone(engine: Engine, package: ModelPackage, tmp_path: Path) -> None:
    batch = images(package, 2)
    np.save(tmp_path / "prepared.npy", batch)
    mapped = np.load(tmp_path / "prepared.npy", mmap_mode="r")

    assert engine.answer(mapped).logits.tobytes() == engine.answer(batch).logits.tobytes()
    assert np.array_equal(np.load(tmp_path / "prepared.npy"), batch)


def test_the_package_decides_about_flips(config: type[Part], package: ModelPackage, tmp_path: Path) -> None:
    flipping = make_package(tmp_path / "flipping", ndim=package.plan.ndim, tta_flips=(0, 1), members=package.members)
    batch = images(package, 2)
    mirrored = [reference(package, np.flip(batch, axes).copy()) for axes in ((), (2,), (3,), (2, 3))]

    logits = config().build(flipping).answer(batch).logits  # type: ignore[attr-defined]

    np.testing.assert_allclose(logits, np.mean(mirrored, axis=0), atol=1e-5, rtol=0)
    assert not np.allclose(logits, reference(package, batch), atol=1e-4)


def test_every_member_of_an_ensemble_has_its_say(config: type[Part], tmp_path: Path) -> None:
    ensemble = make_package(tmp_path / "ensemble", ndim=2, members=3)
    single = make_package(tmp_path / "single", ndim=2)
    batch = images(ensemble, 2)

    logits = config().build(ensemble).answer(batch).logits  # type: ignore[attr-defined]

    assert not np.allclose(logits, config().build(single).answer(batch).logits, atol=1e-3)  # type: ignore[attr-defined]
    np.testing.assert_allclose(logits, reference(ensemble, batch), atol=1e-5, rtol=0)
