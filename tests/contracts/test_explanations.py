"""What every explainer must do; a new file in the folder arrives under test."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from phantoms.packages import FINDINGS, make_package

from pipeline.config import parts
from pipeline.errors import ConfigError, RejectedInput
from pipeline.explanations.explainer import Explainer
from pipeline.explanations.mean_map import MeanMap
from pipeline.explanations.method import MethodSettings
from pipeline.explanations.stage_map import Method, StageMap
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage

PARTS: list[tuple[str, type[MethodSettings]]] = list(parts("pipeline.explanations"))  # type: ignore[arg-type]
ANSWERS = [(finding.name, label) for finding in FINDINGS for label in finding.classes]
BACKBONES = {
    "plain": {"depth": 8},
    "four stages": {"depth": 10, "stem": "large"},
    "bottleneck": {"depth": 29, "squeeze_excitation": 4, "average_shortcut": True, "antialias": True},
    "pre-activation": {"depth": 14, "stages": 3, "preactivation": True, "norm": "group", "shortcut": "A"},
    "slices": {"kind": "slices", "depth": 8},
    "coronal slices": {"kind": "slices", "depth": 8, "axis": 1},
}


@pytest.fixture(scope="module", params=[config for _, config in PARTS], ids=[name for name, _ in PARTS])
def config(request: pytest.FixtureRequest) -> type[MethodSettings]:
    found: type[MethodSettings] = request.param
    return found


@pytest.fixture(scope="module", params=[(2, 1), (3, 1), (2, 3)], ids=["2D", "3D", "2D ensemble"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    ndim, members = request.param
    return make_package(tmp_path_factory.mktemp("explanations") / "package", ndim=ndim, members=members)


@pytest.fixture(scope="module")
def explainer(config: type[MethodSettings], package: ModelPackage) -> Explainer:
    return build(config, package)


def build(config: type[MethodSettings], package: ModelPackage) -> Explainer:
    explainer: Explainer = config().build(package)
    return explainer


def image_for(package: ModelPackage, seed: int = 5) -> NDArray[np.float32]:
    shape = (package.plan.channels, *package.plan.size)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def method_of(config: type[MethodSettings], package: ModelPackage) -> Method:
    found = build(config, package)
    assert isinstance(found, MeanMap)
    return found._method


@pytest.mark.parametrize(("finding", "label"), ANSWERS)
def test_a_heatmap_lies_on_the_grid_of_the_image(
    explainer: Explainer, package: ModelPackage, finding: str, label: str
) -> None:
    heat = explainer.heatmap(image_for(package), finding, label)

    assert (heat.shape, heat.dtype) == (package.plan.size, np.float32)
    assert heat.min() >= 0 and heat.max() in (0.0, 1.0)


def test_each_class_has_a_heatmap_of_its_own(explainer: Explainer, package: ModelPackage) -> None:
    image = image_for(package)
    shown = {answer: explainer.heatmap(image, *answer) for answer in ANSWERS}

    hot = {answer: heat for answer, heat in shown.items() if heat.any()}
    assert len(hot) >= 4
    hot.pop(("grade", "severe"), None)  # the grades share one score, so mild and severe rise by the same signs
    assert len({heat.tobytes() for heat in hot.values()}) == len(hot)


def test_equal_images_give_equal_bits_whatever_ran_before(explainer: Explainer, package: ModelPackage) -> None:
    first = explainer.heatmap(image_for(package), "lesion", "yes")
    explainer.heatmap(image_for(package, 6), "organ", "liver")

    assert explainer.heatmap(image_for(package), "lesion", "yes").tobytes() == first.tobytes()


def test_threads_do_not_disturb_each_other(explainer: Explainer, package: ModelPackage) -> None:
    images = [image_for(package, seed) for seed in range(8)]
    alone = [explainer.heatmap(image, "organ", "liver").tobytes() for image in images]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: explainer.heatmap(image, "organ", "liver").tobytes(), images))

    assert together == alone
    assert len(set(alone)) > len(alone) / 2


def test_it_works_where_no_gradients_are_wanted(explainer: Explainer, package: ModelPackage) -> None:
    expected = explainer.heatmap(image_for(package), "lesion", "yes")
    with torch.inference_mode():
        assert np.array_equal(explainer.heatmap(image_for(package), "lesion", "yes"), expected)
    with torch.no_grad():
        assert np.array_equal(explainer.heatmap(image_for(package), "lesion", "yes"), expected)


def test_a_read_only_memory_map_is_taken_and_left_alone(
    explainer: Explainer, package: ModelPackage, tmp_path: Path
) -> None:
    image = image_for(package)
    np.save(tmp_path / "prepared.npy", image)
    mapped = np.load(tmp_path / "prepared.npy", mmap_mode="r")

    assert np.array_equal(explainer.heatmap(mapped, "lesion", "yes"), explainer.heatmap(image, "lesion", "yes"))
    assert np.array_equal(np.load(tmp_path / "prepared.npy"), image)


def test_the_network_is_left_as_it_was(config: type[MethodSettings], package: ModelPackage) -> None:
    classifier = package.build_classifiers()[0]
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    image = image_for(package)
    with torch.inference_mode():
        before = classifier(torch.tensor(image[np.newaxis]))

    MeanMap(method_of(config, package), [classifier]).heatmap(image, "lesion", "yes")

    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in classifier.parameters())
    assert not any(module.training for module in classifier.modules())
    with torch.inference_mode():
        after = classifier(torch.tensor(image[np.newaxis]))
    torch.testing.assert_close(after, before)


def test_an_ensemble_shows_the_mean_of_its_members(config: type[MethodSettings], tmp_path: Path) -> None:
    package = make_package(tmp_path / "ensemble", ndim=2, members=3)
    method, image = method_of(config, package), image_for(package)
    judged = 0
    for label, (column, sign) in LOGITS.items():
        raw = [raw_map(method, classifier, image, column, sign) for classifier in package.build_classifiers()]
        expected = np.mean(raw, axis=0)
        heat = build(config, package).heatmap(image, *label)
        np.testing.assert_allclose(heat * expected.max(), expected, atol=1e-6, rtol=1e-4)
        judged += sum(one.any() for one in raw) > 1
    assert judged


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_package_decides_about_flips(config: type[MethodSettings], ndim: int, tmp_path: Path) -> None:
    package = make_package(tmp_path / "flipping", ndim=ndim, tta_flips=(0, 1))
    method, image = method_of(config, package), image_for(package)
    (classifier,) = package.build_classifiers()
    explainer = build(config, package)
    judged = 0
    for label, (column, sign) in LOGITS.items():
        raw = []
        for axes in ((), (0,), (1,), (0, 1)):
            mirrored = np.flip(image, [axis + 1 for axis in axes]).copy()
            raw.append(np.flip(raw_map(method, classifier, mirrored, column, sign), axes))
        expected = np.mean(raw, axis=0)
        heat = explainer.heatmap(image, *label)
        np.testing.assert_allclose(heat * expected.max(), expected, atol=1e-6, rtol=1e-4)
        turned = np.flip(explainer.heatmap(np.flip(image, 1), *label), 0)
        np.testing.assert_allclose(turned, heat, atol=1e-4)
        judged += sum(one.any() for one in raw) > 1
    assert judged


LOGITS = {("lesion", "yes"): (0, 1), ("lesion", "no"): (0, -1), ("organ", "kidney"): (2, 1), ("grade", "none"): (6, -1)}
"""Some classes, the column of their logit and its sign."""


def raw_map(
    method: Method, classifier: Classifier, image: NDArray[np.float32], column: int, sign: int
) -> NDArray[np.float32]:
    """Heat before it is scaled, from maps and gradients that are taken without the explainer."""
    maps = list(classifier.backbone.forward_stages(torch.tensor(image[np.newaxis])).values())
    gradients = torch.autograd.grad(sign * classifier.forward_head(maps[-1])[0, column], maps)
    stages = [
        StageMap(values[0].detach().numpy(), slope[0].numpy(), None)
        for values, slope in zip(maps, gradients, strict=True)
    ]
    return method(stages, image.shape[1:])


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_backbone_can_be_explained(config: type[MethodSettings], name: str, ndim: int, tmp_path: Path) -> None:
    options = BACKBONES[name]
    if options.get("kind") == "slices" and ndim == 2:
        ndim, options = 3, {**options, "axis": 0}
    size = (19, 24, 6)[:ndim]
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "width": 8, **options}})
    settings = settings.resolved(10, size, (1.0, 1.0, 4.0)[:ndim])  # strides differ between the axes
    torch.manual_seed(2)
    classifier = build_classifier(settings, FINDINGS, ndim, 2)
    classifier.train()(torch.randn(4, 2, *size))
    method = method_of(config, make_package(tmp_path / "package", ndim=2))
    explainer = MeanMap(method, [classifier])
    image = np.random.default_rng(1).normal(size=(2, *size)).astype(np.float32)

    shown = [explainer.heatmap(image, "lesion", label) for label in ("no", "yes")]  # opposites: one of them speaks

    assert {heat.shape for heat in shown} == {size}
    assert any(heat.max() == 1 for heat in shown)
    assert all(heat.min() >= 0 for heat in shown)


def test_nothing_speaks_for_the_class(config: type[MethodSettings], package: ModelPackage) -> None:
    classifier = package.build_classifiers()[0]
    with torch.no_grad():
        classifier.heads[0].weight.copy_(-classifier.heads[0].weight.abs())  # type: ignore[operator,union-attr,arg-type]
    explainer = MeanMap(method_of(config, package), [classifier])

    assert not explainer.heatmap(image_for(package), "lesion", "yes").any()  # maps behind a relu are not negative


def test_an_image_that_is_not_finite_is_refused(explainer: Explainer, package: ModelPackage) -> None:
    image = image_for(package)
    image[0, 0, 0] = np.nan
    with pytest.raises(RejectedInput, match="not a finite number"):
        explainer.heatmap(image, "lesion", "yes")


def test_a_device_that_is_not_there_is_named(
    config: type[MethodSettings], package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda is asked for"):
        config(device="cuda").build(package)
