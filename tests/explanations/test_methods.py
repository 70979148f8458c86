"""The methods against closed forms and another implementation, and the maps that they are given."""

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from phantoms.packages import FINDINGS

from pipeline.explanations.grad_cam import grad_cam
from pipeline.explanations.hires_cam import hires_cam
from pipeline.explanations.network_maps import NetworkMaps
from pipeline.explanations.stage_map import StageMap
from pipeline.explanations.targets import Target, target_of
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings

SIZE = (20, 17, 12)


def classifier_of(ndim: int = 3, **backbone: object) -> Classifier:
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 8, "width": 8} | backbone})
    torch.manual_seed(4)
    classifier = build_classifier(settings, FINDINGS, ndim, 1)
    classifier.train()(torch.randn(4, 1, *SIZE[:ndim]))
    return classifier.eval()


def image_of(ndim: int = 3) -> np.ndarray:
    return np.random.default_rng(8).normal(size=(1, *SIZE[:ndim])).astype(np.float32)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("column", [1, 3])
def test_grad_cam_agrees_with_monai_before_its_normalizer_which_turns_the_map_over(ndim: int, column: int) -> None:
    classifier, image = classifier_of(ndim), image_of(ndim)
    stages = NetworkMaps(classifier).read(image, Target(column, 1), torch.contiguous_format)
    cells = stages[-1].activations.shape[1:]

    found = GradCAM(classifier, target_layers="backbone.stages.2").compute_map(torch.tensor(image[None]), column)
    theirs = found[0, 0].detach().numpy()

    np.testing.assert_allclose(grad_cam(stages, cells), theirs, atol=1e-4 * theirs.max(), rtol=0)
    assert theirs.any()


@pytest.mark.parametrize("label", ["liver", "kidney", "spleen"])
def test_behind_a_mean_and_a_linear_head_heat_is_the_weighted_sum_of_the_last_map(label: str) -> None:
    """Zhou et al. 2016, class activation maps: what Grad-CAM and HiResCAM of the last map both are here."""
    classifier, image = classifier_of(), image_of()
    stages = NetworkMaps(classifier).read(image, target_of(FINDINGS, "organ", label), torch.channels_last_3d)
    cells = stages[-1].activations.shape[1:]
    weights = classifier.heads[1].weight[FINDINGS[1].classes.index(label)].detach().numpy()  # type: ignore[index,union-attr]
    cam = np.maximum(0, np.einsum("f,fijk->ijk", weights, stages[-1].activations))

    np.testing.assert_allclose(grad_cam(stages, cells) * np.prod(cells), cam, atol=1e-5)
    np.testing.assert_allclose(hires_cam(stages[-1:], cells) * cam.max(), cam, atol=1e-5)


@pytest.mark.parametrize("backbone", [{}, {"kind": "slices", "axis": 1}], ids=["resnet", "slices"])
def test_maps_and_gradients_are_those_of_the_network(backbone: dict[str, object]) -> None:
    classifier, image = classifier_of(**backbone), image_of()
    expected = list(classifier.backbone.forward_stages(torch.tensor(image[None])).values())
    last = expected[-1].detach().requires_grad_()
    (slope,) = torch.autograd.grad(-classifier.forward_head(last)[0, 6], last)

    stages = NetworkMaps(classifier).read(image, target_of(FINDINGS, "grade", "none"), torch.contiguous_format)

    assert len(stages) == len(expected) == 4
    for stage, values in zip(stages, expected, strict=True):
        np.testing.assert_allclose(stage.activations, values[0].detach().numpy(), atol=1e-5)
        assert stage.gradients.shape == stage.activations.shape and stage.gradients.any()
    np.testing.assert_allclose(stages[-1].gradients, slope[0].numpy(), atol=1e-7)


def test_gradients_of_every_stage_tell_how_the_logit_changes() -> None:
    """A small step along a map changes the logit by the gradient times the step."""
    classifier, image = classifier_of(), image_of()
    stages = NetworkMaps(classifier).read(image, Target(2, 1), torch.contiguous_format)
    for (name, layer), stage in zip(classifier.backbone.named_stages().items(), stages, strict=True):
        logits = []
        for step in (1e-3, -1e-3):
            moved = step * torch.tensor(np.sign(stage.gradients))
            hook = layer.register_forward_hook(lambda _, __, out, moved=moved: out + moved)
            logits.append(classifier(torch.tensor(image[None]))[0, 2].item())
            hook.remove()
        assert logits[0] - logits[1] == pytest.approx(2e-3 * np.abs(stage.gradients).sum(), rel=0.02), name


def test_each_slice_is_weighed_by_itself() -> None:
    """One channel shows the same in two slices; the network counts it in the first for, in the second against."""
    activations = np.ones((1, 3, 4, 2), np.float32)
    gradients = np.ones_like(activations)
    gradients[..., 1] = -1
    whole = grad_cam([StageMap(activations, gradients, None)], (3, 4, 2))
    sliced = grad_cam([StageMap(activations, gradients, 2)], (3, 4, 2))

    assert not whole.any()  # the mean over both
    assert (sliced[..., 0] == 1).all() and not sliced[..., 1].any()


def test_the_fused_map_is_the_geometric_mean_of_scaled_maps() -> None:
    fine, coarse = np.zeros((2, 8, 8), np.float32), np.zeros((1, 2, 2), np.float32)
    fine[0, 1, 1], fine[1, 1, 1], fine[0, 7, 7], fine[0, 1, 7] = 3, -5, 4, 2  # channels cancel in part
    coarse[0] = [[8, 2], [4, -1]]
    ones = [np.ones_like(fine), np.ones_like(coarse)]
    ones[0][1] = 0.2
    heat = hires_cam([StageMap(fine, ones[0], None), StageMap(coarse, ones[1], None)], (8, 8))

    # fine: (1, 1) 3 - 1 = 2, (7, 7) 4, (1, 7) 2, scaled by 4; coarse at stride 4, scaled by 8, negative cells 0
    at_centre = np.array([[8, 2], [4, 0]]) / 8
    corner = (at_centre[0, 0] * 9 + at_centre[0, 1] * 3 + at_centre[1, 0] * 3 + at_centre[1, 1]) / 16
    edge = (at_centre[0, 1] * 3 + at_centre[1, 1]) / 4
    assert heat[1, 1] == pytest.approx(np.sqrt(0.5 * corner))
    assert heat[1, 7] == pytest.approx(np.sqrt(0.5 * edge))
    assert heat[7, 7] == 0  # one stage alone is not enough
    assert np.count_nonzero(heat) == 2
