"""Which logit and which class of an answer is explained."""

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from phantoms.packages import FINDINGS

from pipeline.config import explain as explain_settings
from pipeline.domain.prediction import FindingPrediction
from pipeline.errors import ConfigError
from pipeline.explanations.answers import explain, explained_classes
from pipeline.explanations.settings import ExplainSettings
from pipeline.explanations.targets import target_of

LESION, ORGAN, SIGNS, GRADE = FINDINGS
IMAGE = np.zeros((1, 4, 4), dtype=np.float32)


class Told:
    """An explainer whose heatmaps say which class they are of."""

    name = "told"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def heatmap(self, image: NDArray[np.float32], finding: str, label: str) -> NDArray[np.float32]:
        self.asked.append((finding, label))
        heat = np.zeros(image.shape[1:], dtype=np.float32)
        heat[len(self.asked) % 4] = 1
        return heat


def answered(*decisions: str) -> tuple[FindingPrediction, ...]:
    return tuple(
        FindingPrediction(finding=finding.name, probabilities={}, decision=decision)
        for finding, decision in zip(FINDINGS, decisions, strict=True)
    )


@pytest.mark.parametrize(
    ("finding", "label", "column", "sign"),
    [
        ("lesion", "yes", 0, 1),
        ("lesion", "no", 0, -1),
        ("organ", "liver", 1, 1),
        ("organ", "spleen", 3, 1),
        ("signs", "nodule", 5, 1),
        ("grade", "none", 6, -1),  # P(y > none), turned round
        ("grade", "mild", 6, 1),
        ("grade", "severe", 7, 1),
    ],
)
def test_each_class_has_its_logit(finding: str, label: str, column: int, sign: int) -> None:
    assert target_of(FINDINGS, finding, label) == (column, sign)


def test_an_answer_that_the_network_does_not_give_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="no finding 'cyst'"):
        target_of(FINDINGS, "cyst", "yes")
    with pytest.raises(AssertionError, match="no class 'maybe'"):
        target_of(FINDINGS, "lesion", "maybe")


def test_what_was_decided_is_explained() -> None:
    told = Told()
    heatmaps = explain(told, IMAGE, FINDINGS, answered("yes", "kidney", "edema|nodule", "severe"))

    assert told.asked == [
        ("lesion", "yes"),
        ("organ", "kidney"),
        ("signs", "edema"),
        ("signs", "nodule"),
        ("grade", "severe"),
    ]
    assert list(heatmaps) == ["lesion", "organ", "signs", "grade"]
    assert heatmaps["signs"].max(axis=1).tolist() == [1, 0, 0, 1]  # both labels


def test_what_is_negative_is_explained_on_request_only() -> None:
    negative = answered("no", "liver", "", "none")

    assert list(explain(Told(), IMAGE, FINDINGS, negative)) == ["organ"]
    told = Told()
    assert list(explain(told, IMAGE, FINDINGS, negative, "all")) == ["lesion", "organ", "grade"]
    assert told.asked == [("lesion", "yes"), ("organ", "liver"), ("grade", "none")]


def test_what_is_withheld_is_not_explained() -> None:
    assert explain(Told(), IMAGE, FINDINGS, (), "all") == {}


def test_a_label_is_not_found_within_another() -> None:
    assert explained_classes(SIGNS, "edema") == ("edema",)
    longer = SIGNS.model_copy(update={"classes": ("edema", "no edema")})
    assert explained_classes(longer, "no edema") == ("no edema",)


def test_settings_name_a_method_or_none() -> None:
    assert ExplainSettings().method is None
    chosen = ExplainSettings.from_mapping({"method": {"kind": "grad_cam"}, "answers": "all"})
    assert chosen.method is not None and chosen.method.kind == "grad_cam"
    assert ExplainSettings.model_validate(chosen.model_dump(mode="json")) == chosen
    with pytest.raises(ConfigError, match="method"):
        ExplainSettings.from_mapping({"method": {"kind": "tea_leaves"}})
    assert yaml.safe_load(explain_settings(ExplainSettings)) == {"method": None, "answers": "positive"}
