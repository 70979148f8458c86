"""The plan and prepare commands on a small cohort: what they write is what training uses."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from phantoms.spheres import SIDE, make_manifest, read

from pipeline.config import explain
from pipeline.domain.case import Case, Split
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.frozen import digest
from pipeline.domain.plan import Plan
from pipeline.domain.volume import Volume
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, PlanError, RejectedInput
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.transforms import prepare as prepare_volume
from pipeline.stages import plan, prepare, train

MANIFEST = make_manifest()


def refuse_the_third(case: Case) -> Volume:
    if case.case == "C2":
        raise RejectedInput("CHANGED", "sha256 differs, by one bit")
    return read(case)


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    config = plan.Config(manifest=tmp_path / "cohort.csv")
    assert plan.decide(config, MANIFEST, read).exit_code == EXIT_OK
    return tmp_path / "cohort.plan"


def prepare_config(planned: Path, **changes: object) -> prepare.Config:
    base = {
        "manifest": "cohort.csv",
        "plan": str(planned / "plan.json"),
        "cache": str(planned / "cache"),
        "processes": 0,
    }
    return prepare.Config.from_mapping(base | changes)


def test_plan_writes_what_it_measured_and_decided(planned: Path) -> None:
    fingerprint = Fingerprint.model_validate_json((planned / "fingerprint.json").read_bytes())
    decided = Plan.model_validate_json((planned / "plan.json").read_bytes())
    assert fingerprint.manifest == MANIFEST.digest and fingerprint.cases == len(MANIFEST.of(Split.TRAIN))
    assert decided.fingerprint == digest(fingerprint) and decided.size == (SIDE,) * 3


def test_plan_reads_the_training_split_only(tmp_path: Path) -> None:
    seen: set[Split | None] = set()

    def watched(case: Case) -> Volume:
        seen.add(case.split)
        return read(case)

    plan.decide(plan.Config(manifest=tmp_path / "cohort.csv"), MANIFEST, watched)
    assert seen == {Split.TRAIN}


def test_plan_prints_every_decision_with_its_reason_and_marks_overrides(tmp_path: Path) -> None:
    config = plan.Config.from_mapping({"manifest": "cohort.csv", "out": str(tmp_path), "plan": {"batch_size": 3}})
    lines = plan.decide(config, MANIFEST, read).lines
    decisions = Plan.model_validate_json((tmp_path / "plan.json").read_bytes()).decisions
    for decision in decisions:
        (line,) = [line for line in lines if line.split()[0] == decision.name]
        assert decision.value in line and decision.reason in line
        assert line.endswith("[overridden]") == (decision.name == "batch_size")


def test_plan_says_how_to_train_by_it(tmp_path: Path) -> None:
    given: dict[str, object] = {"plan": {"size": [12, 12, 12], "intensity": {"kind": "window", "low": -20, "high": 80}}}
    config = plan.Config.from_mapping(
        {"manifest": str(tmp_path / "my cohort.csv"), **given, "read": {"modality": "MR"}}
    )
    (line,) = [line for line in plan.decide(config, MANIFEST, read).lines if line.startswith("Next: ")]
    command, verb, _, *words = shlex.split(line.removeprefix("Next: "))
    assert (command, verb) == ("resdx", "train")
    overrides = [word for word in words if word.startswith(("plan.", "read."))]
    assert words[: len(words) - len(overrides)] == ["--manifest", str(config.manifest), "--out", "runs/a"]
    training = train.Config.load(None, ["manifest=M", "out=O", *overrides])
    assert (training.plan, training.read) == (config.plan, config.read)


def test_same_manifest_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        config = plan.Config(manifest=Path("cohort.csv"), out=tmp_path / name)
        plan.decide(config, MANIFEST, read)
        written.append([(tmp_path / name / file).read_bytes() for file in ("fingerprint.json", "plan.json")])
    assert written[0] == written[1]


def test_prepare_fills_the_cache_with_every_split(planned: Path) -> None:
    outcome = prepare.fill(prepare_config(planned), MANIFEST, read)
    assert outcome.exit_code == EXIT_OK and "42 of 42" in outcome.lines[0]
    decided = Plan.model_validate_json((planned / "plan.json").read_bytes())
    cache = PreparedCache(planned / "cache", decided)
    for case in MANIFEST.cases:
        np.testing.assert_array_equal(cache.load(case), prepare_volume(read(case), decided))


def test_prepare_lists_a_refused_case_and_a_second_run_mends_it(planned: Path) -> None:
    config = prepare_config(planned)
    outcome = prepare.fill(config, MANIFEST, refuse_the_third)
    assert outcome.exit_code == EXIT_SOME_REJECTED and "41 of 42" in outcome.lines[0]
    (table,) = (planned / "cache").glob("*/rejections.csv")
    (row,) = csv.DictReader(table.open(encoding="utf-8", newline=""))
    assert (row["case"], row["code"], row["message"]) == ("C2", "CHANGED", "sha256 differs, by one bit")
    assert prepare.fill(config, MANIFEST, read).exit_code == EXIT_OK
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1


def test_prepare_refuses_what_is_no_plan(planned: Path) -> None:
    for name, words in (("nothing.json", "cannot be read"), ("fingerprint.json", "no valid plan")):
        with pytest.raises(PlanError, match=words):
            prepare.fill(prepare_config(planned, plan=str(planned / name)), MANIFEST, read)


@pytest.mark.parametrize("config", [plan.Config, prepare.Config])
def test_every_setting_is_explained(config: type[plan.Config] | type[prepare.Config]) -> None:
    assert all(field.description for field in config.model_fields.values())
    assert "manifest: REQUIRED" in explain(config)
