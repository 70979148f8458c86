import numpy as np
import pytest
import torch

from pipeline.domain.encoding import class_probabilities, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.networks.classifier import build_classifier
from pipeline.networks.heads import GradesHead, OrdinalHead, make_head
from pipeline.networks.settings import NetworkSettings

FINDINGS = (
    Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes"),
    Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen")),
    Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule")),
    Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "moderate", "severe")),
)
SETTINGS = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 10, "width": 8}, "dropout": 0.5})


@pytest.mark.parametrize("ndim", [2, 3])
def test_logits_are_laid_out_as_the_findings(ndim: int) -> None:
    torch.manual_seed(0)
    classifier = build_classifier(SETTINGS, FINDINGS, ndim, 1).eval()
    x = torch.randn((3, 1, 12, 12, 12)[: ndim + 2])
    logits = classifier(x)
    assert logits.shape == (3, output_slices(FINDINGS)[-1].stop) == (3, 9)
    pooled = classifier.backbone(x)
    for head, where in zip(classifier.heads, output_slices(FINDINGS), strict=True):
        torch.testing.assert_close(logits[:, where], head(pooled))
    torch.testing.assert_close(classifier.forward_head(classifier.forward_features(x)), logits)


def test_ordinal_probabilities_are_ordered_whatever_the_weights() -> None:
    torch.manual_seed(1)
    head = OrdinalHead(5, 4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=5)
    logits = head(torch.randn(200, 5)).detach().numpy()
    assert (np.diff(logits, axis=1) <= 0).all()
    finding = Finding(name="g", kind=FindingKind.ORDINAL, classes=tuple("abcde"))
    probabilities = class_probabilities(finding, logits)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_grades_are_the_softmax_of_their_own_scores() -> None:
    torch.manual_seed(1)
    head = GradesHead(5, 4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=3)
    features = torch.randn(200, 5)
    finding = Finding(name="g", kind=FindingKind.ORDINAL, classes=tuple("abcde"))
    expected = torch.softmax(head.scores(features), dim=1).detach().numpy()
    np.testing.assert_allclose(class_probabilities(finding, head(features).detach().numpy()), expected, atol=2e-6)


def test_the_head_of_ordinal_findings_is_chosen() -> None:
    settings = NetworkSettings.from_mapping(
        {"backbone": {"kind": "resnet", "depth": 10, "width": 8}, "ordinal": "grades"}
    )
    kinds = [type(head) for head in build_classifier(settings, FINDINGS, 2, 1).heads]
    assert kinds.count(GradesHead) == sum(finding.kind is FindingKind.ORDINAL for finding in FINDINGS) == 1
    assert OrdinalHead not in kinds


def test_fresh_ordinal_cuts_are_spread_evenly_about_zero() -> None:
    np.testing.assert_allclose(OrdinalHead(3, 3).cuts().detach(), [-1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(OrdinalHead(3, 1).cuts().detach(), [0], atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(2)
    classifier = build_classifier(SETTINGS, FINDINGS, 2, 1)
    maps = torch.randn(4, classifier.backbone.features, 3, 3)
    assert not torch.equal(classifier.train().forward_head(maps), classifier.forward_head(maps))
    assert torch.equal(classifier.eval().forward_head(maps), classifier.forward_head(maps))


def test_new_findings_keep_the_backbone() -> None:
    torch.manual_seed(3)
    classifier = build_classifier(SETTINGS, FINDINGS, 2, 1).eval()
    x = torch.randn(2, 1, 16, 16)
    before = classifier.forward_features(x)
    classifier.reset_classifier(FINDINGS[:1])
    assert torch.equal(classifier.forward_features(x), before)
    assert classifier(x).shape == (2, 1)


def test_logits_stay_float32_under_autocast() -> None:
    classifier = build_classifier(SETTINGS, FINDINGS, 2, 1).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert classifier.forward_features(torch.randn(2, 1, 16, 16)).dtype == torch.bfloat16
        assert classifier(torch.randn(2, 1, 16, 16)).dtype == torch.float32


def test_a_fresh_head_is_indifferent() -> None:
    torch.manual_seed(4)
    for finding in FINDINGS[:3]:
        assert make_head(finding, 64)(torch.rand(5, 64)).abs().max() < 0.5
