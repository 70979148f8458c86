"""The loop of a study of depth: every network is trained alike, and what is measured is what happened."""

import math
from pathlib import Path

import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest

from pipeline.backbones.resnet import Config
from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.journal import NullJournal
from pipeline.networks.classifier import Classifier
from pipeline.training.losses import FindingsLoss
from pipeline.training.study.course import Course
from pipeline.training.study.layers import counted_layers
from pipeline.training.study.loop import Trained, endless, measured_cases, train_network
from pipeline.training.study.settings import CourseSettings

SETTINGS = CourseSettings(
    steps=7, learning_rate=0.02, warmup_steps=2, measure_every=3, measured_cases=10, gradient_steps=(0, 4)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CaseDataModule:
    return make_data(tmp_path_factory.mktemp("cache"), make_manifest(ndim=2), ndim=2, batch_size=8)


def make(depth: int = 8, seed: int = 0, **settings: object) -> Classifier:
    torch.manual_seed(seed)
    chosen = {"depth": depth, "stages": 3, "width": 4, "shortcut": "A", "zero_init": False} | settings
    return Classifier(Config.model_validate(chosen).build(2, 1), FINDINGS)


def trained(data: CaseDataModule, network: Classifier, settings: CourseSettings = SETTINGS, seed: int = 0) -> Trained:
    return train_network(network, data, settings, seed=seed, journal=NullJournal(), title="test")


def timeless(course: Course) -> Course:
    return course.model_copy(update={"seconds_per_step": 0.0})


def seen_by(data: CaseDataModule, network: Classifier) -> list[torch.Tensor]:
    images: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: images.append(inputs[0].clone()))
    trained(data, network)
    return images


def test_every_network_sees_the_same_images_in_the_same_order(data: CaseDataModule) -> None:
    one, other = seen_by(data, make(8)), seen_by(data, make(14, residual=False, norm="none"))
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_twins_begin_with_the_same_weights() -> None:
    one, other = make(14).backbone.state_dict(), make(14, residual=False).backbone.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_seed_decides_everything(data: CaseDataModule) -> None:
    first, again, other = (trained(data, make(seed=seed), seed=seed) for seed in (0, 0, 1))
    assert timeless(first.course) == timeless(again.course)
    assert first.course.losses != other.course.losses


def test_it_measures_when_it_was_asked_to(data: CaseDataModule) -> None:
    course = trained(data, make()).course
    assert [point.step for point in course.points] == [0, 3, 6, 7]
    assert [gradients.step for gradients in course.gradients] == [0, 4, 6]
    assert len(course.losses) == 7 and course.diverged_at is None
    assert course.best is not None and course.best.auroc == max(point.auroc or 0 for point in course.points)


def test_measured_losses_are_those_of_the_whole_sets_in_eval_mode(data: CaseDataModule) -> None:
    network = make()
    point = trained(data, network).course.points[-1]
    chosen = measured_cases(data.datasets[Split.TRAIN].cases, 10)
    loss = FindingsLoss(FINDINGS)
    network.eval()
    train, validation = data.datasets[Split.TRAIN], data.datasets[Split.VALIDATION]
    plain = {case.case: index for index, case in enumerate(train.cases)}
    images = torch.stack([torch.from_numpy(train.cache.load(case).copy()) for case in chosen])
    labels = torch.cat([train[plain[case.case]].label for case in chosen])
    with torch.no_grad():
        assert point.train_loss == pytest.approx(float(loss(network(images), labels)), rel=1e-5)
        batches = [validation[index] for index in range(len(validation))]
        logits = network(torch.cat([batch.image for batch in batches]))
        expected = float(loss(logits, torch.cat([batch.label for batch in batches])))
    assert point.validation_loss == pytest.approx(expected, rel=1e-5)


def test_the_measured_cases_are_the_same_for_all_and_differ(data: CaseDataModule) -> None:
    cases = data.datasets[Split.TRAIN].cases
    chosen = measured_cases(cases, 10)
    assert chosen == measured_cases(cases, 10) and len({case.case for case in chosen}) == 10
    assert measured_cases(cases, 1000) == list(cases)


def test_gradient_norms_of_the_first_step_are_autograds(data: CaseDataModule) -> None:
    course = trained(data, make()).course
    network = make().train()
    batch = next(endless(data))
    FindingsLoss(FINDINGS)(network(batch.image), batch.label).backward()
    expected = [
        module.weight.grad.pow(2).sum().sqrt().item()
        for name, module in network.backbone.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    assert course.gradients[0].norms == pytest.approx(expected, rel=1e-5)
    assert course.layers[0] == "stem.conv" and len(course.layers) == 7


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_layers_are_those_that_the_depth_counts(block: str) -> None:
    depth = {"basic": 14, "bottleneck": 20}[block]
    network = make(depth, block=block, shortcut="B", squeeze_excitation=4).backbone
    layers = list(counted_layers(network))
    assert len(layers) == depth - 1  # the head is the last one
    order: list[str] = []
    for name, module in network.named_modules():
        if name in layers:
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.zeros(2, 1, 10, 10))
    assert order == layers


def test_a_vanishing_gradient_is_not_lost_in_its_squares(data: CaseDataModule) -> None:
    network = make()
    for head in network.heads:
        for weight in head.parameters():
            weight.data.mul_(1e-22) if weight.ndim > 1 else None
    norms = trained(data, network).course.gradients[0].norms
    assert all(0 < norm < 1e-18 for norm in norms)


def test_a_loss_that_is_not_finite_ends_the_course_and_says_where(data: CaseDataModule) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    course = trained(data, make(norm="none"), wild).course
    assert course.diverged_at is not None and 0 < course.diverged_at < SETTINGS.steps
    assert len(course.losses) <= course.diverged_at and all(map(math.isfinite, course.losses))
    assert Course.model_validate_json(course.model_dump_json()) == course


def test_clipping_changes_the_steps_and_not_what_is_told_of_the_first(data: CaseDataModule, tmp_path: Path) -> None:
    free = trained(data, make()).course
    clipped = trained(data, make(), SETTINGS.model_copy(update={"gradient_clip": 1e-4})).course
    assert clipped.gradients[0] == free.gradients[0]
    assert clipped.losses[0] == free.losses[0] and clipped.losses[-1] != free.losses[-1]
