"""``resdx export``: what it leaves, what it refuses, and what int8 has to prove."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from phantoms.engines import CASES, MANIFEST, Scans, decided_package, export_of, scan_of

from pipeline.domain.case import Split
from pipeline.domain.manifest import Manifest
from pipeline.engines.exports import PARITY, PARITY_TEXT, default_folder, read_report
from pipeline.engines.parity import TOLERANCES, Processor, Tolerance
from pipeline.engines.settings import engine_settings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ConfigError, EngineError, ManifestError, UsageError
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.transforms import prepare
from pipeline.stages import export as stage
from pipeline.stages.outcome import Outcome


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return decided_package(tmp_path_factory.mktemp("export") / "package")


@pytest.fixture(autouse=True)
def inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, MANIFEST)


def given(monkeypatch: pytest.MonkeyPatch, manifest: Manifest, unreadable: frozenset[str] = frozenset()) -> None:
    monkeypatch.setattr(stage, "load_manifest", lambda path: manifest)
    monkeypatch.setattr(stage, "load_files", lambda path: None)
    monkeypatch.setattr(stage, "CaseReader", lambda files, options: Scans(3, unreadable))


def run(package: ModelPackage, **changes: object) -> Outcome:
    fields = {"model": str(package.folder), "manifest": "cohort.csv", "processes": 0, "threads": 1, "int8": False}
    return stage.run(stage.Config.from_mapping(fields | changes))


@pytest.fixture(scope="module")
def exported(package: ModelPackage) -> Path:
    """An export with everything, int8 judged by a rule that this network can pass."""
    with pytest.MonkeyPatch.context() as patch:
        given(patch, MANIFEST)
        patch.setitem(TOLERANCES, "int8", Tolerance(1.0, 1.0))
        patch.setattr("pipeline.engines.parity.LARGEST_AUROC_CHANGE", 2.0)
        return export_of(package, package.folder.with_name("whole"))


def test_it_leaves_the_networks_and_a_report_that_vouches_for_them(package: ModelPackage, exported: Path) -> None:
    report = read_report(exported)
    assert {path.name for path in exported.iterdir()} == {*report.files, PARITY, PARITY_TEXT}
    assert {"network.onnx", "openvino.xml", "openvino.bin"} <= set(report.files)
    assert (report.model, report.manifest) == (package.digest, MANIFEST.digest)
    assert (report.cases, report.unread, report.threads) == (24, 0, 1)
    assert report.processor == Processor.here()
    assert {"torch 32", "torch bf16", "openvino 32", "openvino bf16", "onnx 32"} <= {row.title for row in report.rows}
    assert all(row.seconds > 0 for row in report.rows if not row.failure)
    text = (exported / PARITY_TEXT).read_text(encoding="utf-8")
    assert "all 24 validation cases" in text and report.model in text and "| openvino 32 |" in text


def test_engines_in_float32_agree_and_flip_nothing(exported: Path) -> None:
    report = read_report(exported)
    for kind in ("openvino", "onnx"):
        row = report.row(kind, "32")
        assert row is not None and not row.obstacle, row
        assert 0 < row.largest <= 1e-4
    assert report.reference.largest == 0


def test_what_is_reported_is_what_the_engine_says(package: ModelPackage, exported: Path) -> None:
    """Probabilities by hand, of the finding that is calibrated."""
    images = np.stack([prepare(scan_of(case), package.plan) for case in CASES if case.split is Split.VALIDATION])
    settings = {"kind": "openvino", "precision": "bf16", "threads": 1}
    true = TorchConfig(device="cpu", threads=1).build(package).answer(images).logits
    row = read_report(exported).row("openvino", "bf16")
    assert row is not None
    mine = engine_settings(settings).build(package).answer(images).logits

    def sigmoid(logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-logits.astype(np.float64) / 1.5))

    assert row.largest >= np.abs(sigmoid(mine[:, 0]) - sigmoid(true[:, 0])).max() - 1e-9


def test_bfloat16_is_not_measured_where_there_is_none(package: ModelPackage, tmp_path: Path) -> None:
    report = read_report(export_of(package, tmp_path / "export", bfloat16=False, to=["openvino"], int8=False))
    assert [row.title for row in report.rows] == ["torch 32", "openvino 32"]
    exported = {"exported": str(tmp_path / "export"), "threads": 1}
    engine_settings({"kind": "openvino", "precision": "bf16", **exported}).build(package)


def test_a_split_that_int8_does_not_answer_alike_leaves_no_int8(package: ModelPackage, tmp_path: Path) -> None:
    """Weights that are random and heads that shout: rounding to 256 steps moves every probability."""
    report = read_report(export_of(package, tmp_path / "export", to=["openvino"]))
    assert not any("int8" in name for name in report.files)
    row = report.row("openvino", "int8")
    assert row is not None and "int8 does not agree" in row.problem
    with pytest.raises(EngineError, match="int8"):
        engine_settings({"kind": "openvino", "precision": "int8", "exported": str(tmp_path / "export")}).build(package)


def test_int8_that_agrees_by_the_rule_is_written(exported: Path) -> None:
    report = read_report(exported)
    assert {"openvino_int8.xml", "openvino_int8.bin"} <= set(report.files)
    row = report.row("openvino", "int8")
    assert row is not None and "layers in int8" in row.note
    assert row.largest > 1e-3, "nothing was quantised"
    small, large = ((exported / f"{name}.bin").stat().st_size for name in ("openvino_int8", "openvino"))
    assert small < large


def test_int8_by_its_name_alone_is_what_lies_beside_the_package(
    package: ModelPackage, exported: Path, tmp_path: Path
) -> None:
    moved = load_package(Path(shutil.copytree(package.folder, tmp_path / "package")))
    asked = engine_settings({"kind": "openvino", "precision": "int8", "threads": 1})
    with pytest.raises(EngineError, match="nothing is beside"):
        asked.resolve(moved)
    beside = shutil.copytree(exported, default_folder(moved))
    by_name = {"kind": "openvino", "precision": "int8", "threads": 1, "exported": str(beside)}
    assert asked.resolve(moved) == engine_settings(by_name).resolve(moved)
    with pytest.raises(EngineError, match=r"int8 does not agree with float32 by the report in .*package\.exported"):
        asked.build(moved)  # by the usual rule, which its report did not go by


def test_int8_of_another_processor_is_refused(package: ModelPackage, exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    other = read_report(copy).model_copy(update={"processor": Processor(name="another")}).sealed()
    (copy / PARITY).write_text(other.model_dump_json(), encoding="utf-8")
    settings = {"kind": "openvino", "exported": str(copy), "threads": 1}
    engine_settings(settings).build(package)
    with pytest.raises(EngineError, match="another processor"):
        engine_settings(settings | {"precision": "int8"}).build(package)


def test_it_stands_beside_the_package_unless_it_is_told(package: ModelPackage) -> None:
    outcome = run(package, to=["onnx"])
    assert outcome.exit_code == EXIT_OK
    assert default_folder(package).name == "package.exported"
    report = read_report(default_folder(package))
    assert list(report.files) == ["network.onnx"]
    assert any(line.startswith("onnx 32") for line in outcome.lines)
    assert str(default_folder(package)) in outcome.lines[-1]


def test_a_case_that_cannot_be_read_is_counted(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, MANIFEST, frozenset({CASES[2].case}))
    outcome = run(package, to=["onnx"], out=str(tmp_path / "out"))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    report = read_report(tmp_path / "out")
    assert (report.cases, report.unread) == (23, 1)
    assert any("1 validation case" in line for line in outcome.lines)


def test_nothing_readable_is_a_failure_that_leaves_nothing(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, MANIFEST, frozenset(case.case for case in CASES))
    with pytest.raises(ManifestError, match="None of the 24"):
        run(package, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_another_manifest_is_refused(package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Manifest(findings=MANIFEST.findings, cases=CASES[:20]))
    with pytest.raises(ManifestError, match="not the one that the model was trained on"):
        run(package, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_not_replaced(package: ModelPackage, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        run(package, out=str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_library_is_named_before_anything_is_read(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setattr(stage, "load_manifest", lambda path: pytest.fail("read"))
    with pytest.raises(EngineError, match=r"resdx\[int8\]"):
        run(package, out=str(tmp_path / "out"), int8=True)


def test_an_unknown_format_is_a_mistake_of_the_command(package: ModelPackage) -> None:
    with pytest.raises(ConfigError, match="to"):
        run(package, to=["tflite"])


def test_a_crash_leaves_the_old_export(package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(package, to=["onnx"], out=str(tmp_path / "out"))
    before = read_report(tmp_path / "out")
    monkeypatch.setattr(stage, "measure", lambda *args, **settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(package, to=["onnx"], out=str(tmp_path / "out"))
    assert read_report(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
