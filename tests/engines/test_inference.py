import numpy as np
import pytest
from phantoms.answers import answer_of
from phantoms.packages import FINDINGS, OUTPUTS, make_package
from scipy.special import expit, softmax

from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.domain.volume import Volume
from pipeline.engines.inference import interpret, run_prepared
from pipeline.engines.torch import Config
from pipeline.errors import ConfigError, RejectedInput
from pipeline.package.package import ModelPackage


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("inference") / "package")


def ct(modality: str = "CT") -> Volume:
    voxels = np.random.default_rng(3).normal(50, 80, size=(1, 14, 12, 9)).astype(np.float32)
    return Volume(voxels, Geometry.from_matrix((14, 12, 9), np.diag([2.0, 2.0, 2.0, 1.0])), modality)


def test_probabilities_are_the_closed_forms_of_the_logits() -> None:
    logits = np.array([[0.8, 1.0, 2.0, -1.0, 0.3, -0.3, 1.5, -0.5]], dtype=np.float32)
    calibration = (Calibration(finding="lesion", temperature=2.0),)
    points = (OperatingPoint(finding="lesion", threshold=0.61, rule="youden"),)

    ((lesion, organ, signs, grade),) = interpret(logits, FINDINGS, calibration, points)

    assert lesion.probabilities == pytest.approx({"no": 1 - expit(0.4), "yes": expit(0.4)}, abs=1e-6)
    assert (lesion.decision, lesion.threshold) == ("no", 0.61)
    assert list(organ.probabilities.values()) == pytest.approx(softmax([1.0, 2.0, -1.0]), abs=1e-6)
    assert (organ.decision, organ.threshold) == ("kidney", None)
    assert signs.probabilities == pytest.approx({"edema": expit(0.3), "nodule": expit(-0.3)}, abs=1e-6)
    above = expit([1.5, -0.5])
    assert list(grade.probabilities.values()) == pytest.approx([1 - above[0], above[0] - above[1], above[1]], abs=1e-6)


def test_the_frozen_threshold_decides() -> None:
    logits = np.zeros((1, OUTPUTS), dtype=np.float32)
    logits[0, 0] = 0.2

    def decided(threshold: float) -> str:
        point = OperatingPoint(finding="lesion", threshold=threshold, rule="sensitivity>=0.9")
        return interpret(logits, FINDINGS, (), (point,))[0][0].decision

    assert decided(0.54) == "yes"
    assert decided(0.56) == "no"


def test_a_volume_goes_through_the_plan_of_its_package(package: ModelPackage) -> None:
    engine = Config(device="cpu").build(package)

    said = answer_of(ct(), package, engine)

    assert [entry.finding for entry in said] == [finding.name for finding in FINDINGS]
    assert said[0].threshold == 0.4


def test_a_scan_of_another_modality_is_refused(package: ModelPackage) -> None:
    with pytest.raises(RejectedInput) as caught:
        answer_of(ct("MR"), package, Config(device="cpu").build(package))
    assert caught.value.code == "DOES_NOT_FIT"


def test_an_answer_that_is_not_finite_is_refused_and_never_reported(package: ModelPackage) -> None:
    image = np.full((1, *package.plan.size), np.nan, dtype=np.float32)

    with pytest.raises(RejectedInput) as caught:
        run_prepared(image, Config(device="cpu").build(package))
    assert (caught.value.code, caught.value.stage) == ("NOT_FINITE", "predict")


def test_cuda_is_not_silently_replaced_by_the_cpu(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with pytest.raises(ConfigError, match="cuda"):
        Config(device="cuda").build(package)


def test_a_class_of_a_multilabel_finding_holds_no_separator() -> None:
    """`edema|nodule` in a cell would be two classes or one."""
    with pytest.raises(ValueError, match=r"holds no \|, which stands between"):
        Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema|nodule", "mass"))
    assert Finding(name="sign", kind=FindingKind.MULTICLASS, classes=("a|b", "c")).classes == ("a|b", "c")
