"""The gate from end to end on synthetic bodies: what it catches, what it says, and what a package makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantoms.bodies import SPOILED, body, changed, echo, limb, sample, scan
from phantoms.packages import FINDINGS, make_card, make_fingerprint, make_network, make_package, make_plan

from pipeline.domain.frozen import digest
from pipeline.domain.plan import Plan
from pipeline.domain.prediction import FindingPrediction, ScopeVerdict
from pipeline.domain.scope import Detector, Numbers, ScopeReference
from pipeline.domain.volume import Volume
from pipeline.engines.parity import LARGEST_SCOPE_MOVE
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import PackageError
from pipeline.package.content import CONTENT, DIGESTS, sha256_of
from pipeline.package.package import ModelPackage, load_package, save_package
from pipeline.preprocessing.transforms import prepare
from pipeline.scope.fitting import FEWEST, Sample, fit_reference
from pipeline.scope.gate import Gate
from pipeline.scope.judging import judge, released
from pipeline.scope.settings import ScopeSettings
from pipeline.stages.export_parity import scope_apart

NEW = range(500, 540)


class Setting:
    """A package with random weights, its engine, and the reference of eighty bodies."""

    def __init__(self, folder: Path, ndim: int) -> None:
        self.ndim = ndim
        self.plan: Plan = make_plan(ndim)
        self.engine = TorchConfig().build(make_package(folder, ndim=ndim))
        training = [self.sample(body(number, ndim), f"P{number}") for number in range(80)]
        validation = [self.sample(body(number, ndim), f"P{number}") for number in range(200, 240)]
        reference = fit_reference(training, validation)
        assert reference is not None
        self.training, self.validation, self.reference = training, validation, reference
        self.gate = Gate(reference)

    def sample(self, volume: Volume, patient: str = "") -> Sample:
        found = sample(volume, self.plan, patient)
        features = self.engine.answer(prepare(volume, self.plan)[np.newaxis]).features[0]
        return replace(found, scan=replace(found.scan, features=features))

    def judge(self, volume: Volume) -> tuple[ScopeVerdict, tuple[str, ...]]:
        one = self.sample(volume).scan
        return judge(self.gate, one.facts, one.look, one.features)

    def refused(self, make: Callable[[int], Volume], numbers: range = NEW) -> float:
        return float(np.mean([self.judge(make(number))[0] is ScopeVerdict.OUT_OF_SCOPE for number in numbers]))


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("scope") / "package", request.param)


def test_new_bodies_are_in_scope(setting: Setting) -> None:
    assert setting.refused(lambda number: body(number, setting.ndim), range(500, 600)) < 0.05
    assert setting.reference.validation_refused / setting.reference.validation < 0.05
    assert {limit.detector for limit in setting.reference.limits} == set(Detector)


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_bodies_are_caught(setting: Setting, kind: str) -> None:
    assert setting.refused(lambda number: changed(body(number, setting.ndim), SPOILED[kind])) >= 0.95


@pytest.mark.parametrize("make", [limb, echo])
def test_strangers_are_caught_though_their_header_claims_to_be_right(
    setting: Setting, make: Callable[[int, int], Volume]
) -> None:
    assert setting.refused(lambda number: make(number, setting.ndim)) >= 0.95


def test_reasons_are_plain_words_with_figures(setting: Setting) -> None:
    good = body(600, setting.ndim)
    wide = scan(good.voxels.reshape((24,) * setting.ndim).astype(np.float64), spacing=3.1)
    _, reasons = setting.judge(wide)
    axis = "left to right" if setting.ndim == 3 else "columns"
    assert f"spacing along {axis} 3.1 mm, training 2" in reasons
    one = setting.sample(good).scan
    assert judge(setting.gate, one.facts.model_copy(update={"modality": "MR"}), one.look, one.features) == (
        ScopeVerdict.OUT_OF_SCOPE,
        ("modality MR, training CT",),
    )
    _, reasons = setting.judge(changed(good, SPOILED["front-back"]))
    name = "front-back" if setting.ndim == 3 else "rows"
    assert any(f"more like the training images with {name} reversed: margin" in reason for reason in reasons)
    _, reasons = setting.judge(changed(good, SPOILED["inverted"]))
    assert any(reason.startswith("it looks like a negative: score") for reason in reasons)


def test_features_by_themselves_score_as_they_do_among_the_others_and_an_engine_that_moves_them_is_told(
    setting: Setting,
) -> None:
    scans = [setting.sample(body(number, setting.ndim)).scan for number in range(500, 520)]
    features = np.stack([one.features for one in scans if one.features is not None])
    alone = setting.gate.feature_scores(features)
    assert alone is not None
    among = [setting.gate.scores(one)[Detector.FEATURES] for one in scans]
    np.testing.assert_allclose(alone, among, rtol=1e-12)
    assert scope_apart(setting.gate, features, features) == {"scope_changed": 0, "scope_moved": 0.0}
    moved = scope_apart(setting.gate, features + 100 * features.std(axis=0), features)
    assert moved["scope_changed"] == 20 and moved["scope_moved"] > LARGEST_SCOPE_MOVE
    features[0] = np.nan
    assert scope_apart(setting.gate, features, features)["scope_changed"] == 0


def test_body_part_of_the_header(setting: Setting) -> None:
    named = [
        replace(one, scan=replace(one.scan, facts=one.scan.facts.model_copy(update={"body_part": "ABDOMEN"})))
        for one in setting.training
    ]
    reference = fit_reference(named, setting.validation)
    assert reference is not None and reference.body_parts == ("ABDOMEN",)
    one = setting.sample(body(601, setting.ndim)).scan
    for part, verdict in (("ABDOMEN", "in_scope"), ("", "in_scope"), ("KNEE", "out_of_scope")):
        facts = one.facts.model_copy(update={"body_part": part})
        found, reasons = judge(reference, facts, one.look, one.features)
        assert found == verdict
        assert reasons == (() if part != "KNEE" else ("body part KNEE by its header, training ABDOMEN",))


def test_no_reference_is_not_checked_and_too_few_cases_give_none(setting: Setting) -> None:
    one = setting.training[0].scan
    assert judge(None, one.facts, one.look, one.features) == (ScopeVerdict.NOT_CHECKED, ())
    assert fit_reference(setting.training[: FEWEST - 1], setting.validation) is None


def test_without_validation_the_features_are_not_compared(setting: Setting) -> None:
    reference = fit_reference(setting.training, ())
    assert reference is not None and reference.features is None and reference.validation == 0
    assert Detector.FEATURES not in {limit.detector for limit in reference.limits}
    assert any("features are not compared" in line for line in reference.lines)
    again = fit_reference(setting.training, ())
    assert again == reference


def test_findings_are_withheld_or_reported() -> None:
    findings = (FindingPrediction(finding="lesion", probabilities={"no": 0.2, "yes": 0.8}, decision="yes"),)
    for verdict in ScopeVerdict:
        kept = released(findings, verdict, ScopeSettings())
        assert kept == (() if verdict is ScopeVerdict.OUT_OF_SCOPE else findings)
        assert released(findings, verdict, ScopeSettings(out_of_scope="report")) == findings


def packed(folder: Path, setting: Setting, scope: ScopeReference | None) -> ModelPackage:
    classifier = make_package(folder.with_name("plain"), ndim=setting.ndim).build_classifier()
    return save_package(
        folder,
        classifier_state=classifier.state_dict(),
        network=make_network(),
        plan=setting.plan,
        fingerprint=make_fingerprint(setting.ndim),
        findings=FINDINGS,
        calibration=(),
        operating_points=(),
        manifest_digest="a" * 64,
        card=make_card(scope=() if scope is None else scope.lines),
        scope=scope,
    )


def test_a_package_carries_the_reference_and_its_name_covers_it(setting: Setting, tmp_path: Path) -> None:
    package = packed(tmp_path / "with", setting, setting.reference)
    plain = packed(tmp_path / "without", setting, None)
    assert package.scope == setting.reference and plain.scope is None
    assert "scope" not in json.loads((plain.folder / CONTENT).read_text())
    assert package.digest != plain.digest
    assert "80 training cases; " in (package.folder / "MODEL_CARD.md").read_text()

    content = json.loads((package.folder / CONTENT).read_text())
    content["scope"]["limits"][0]["value"] += 1
    (package.folder / CONTENT).write_text(json.dumps(content))
    with pytest.raises(PackageError, match=r"digest of package\.json"):
        load_package(package.folder)
    digests = json.loads((package.folder / DIGESTS).read_text())
    digests["files"][CONTENT] = sha256_of(package.folder / CONTENT)
    (package.folder / DIGESTS).write_text(json.dumps(digests))
    with pytest.raises(PackageError, match="digest of the model"):
        load_package(package.folder)


def test_numbers_are_exact_and_checked() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    kept = Numbers.of(values)
    np.testing.assert_array_equal(Numbers.model_validate_json(kept.model_dump_json()).array, values)
    assert digest(kept) == digest(Numbers.of(values.astype(np.float64)))
    for shape, content in (((3, 5), kept.float32), ((1,), Numbers.of(np.zeros(1)).float32[:-2])):
        with pytest.raises(ValueError, match=r"numbers|base64|padding|buffer"):
            Numbers(shape=shape, float32=content)
    with pytest.raises(ValueError, match="finite"):
        Numbers.of(np.array([np.nan]))
