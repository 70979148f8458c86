"""What `auto` takes, what it passes over, and how a run keeps to it."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.engines import CASES, decided_package, export_of, scan_of
from phantoms.packages import make_package

from pipeline.engines import libraries
from pipeline.engines.auto import Config
from pipeline.engines.choosing import fastest
from pipeline.engines.engine import Answer
from pipeline.engines.exports import PARITY, default_folder, read_report
from pipeline.engines.parity import ParityReport, Processor
from pipeline.engines.settings import EngineSettings, engine_settings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import ConfigError, EngineError
from pipeline.ledger import open_ledger
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.transforms import prepare
from pipeline.stages.predict import Config as PredictConfig
from pipeline.stages.predict import chosen_engine

FLOAT = {"kind": "torch", "precision": "32"}
REFERENCE = TorchConfig(device="cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A package with an export in its default place."""
    made = decided_package(tmp_path_factory.mktemp("choosing") / "package", ndim=2)
    export_of(made, default_folder(made), int8=False)
    return made


def rewrite(folder: Path, seconds: dict[str, float], **changes: dict[str, Any]) -> ParityReport:
    """Give rows other times (by title) and fields, and seal the report again."""
    report = read_report(folder)
    rows = tuple(
        row.model_copy(update={"seconds": seconds.get(row.title, 1.0)} | changes.get(row.title.replace(" ", "_"), {}))
        for row in report.rows
    )
    changed = report.model_copy(update={"rows": rows}).sealed()
    (folder / PARITY).write_text(changed.model_dump_json(), encoding="utf-8")
    return changed


@pytest.fixture
def folder(package: ModelPackage) -> Path:
    """Its report, whatever a test makes of it, is the measured one again afterwards."""
    return default_folder(package)


@pytest.fixture(autouse=True)
def measured(package: ModelPackage) -> Any:
    path = default_folder(package) / PARITY
    content = path.read_bytes()
    yield
    path.write_bytes(content)


def test_the_fastest_is_taken(package: ModelPackage, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "resdx")
    report = rewrite(folder, {"openvino 32": 0.1, "onnx 32": 0.2})

    chosen = Config(threads=1).resolve(package)

    assert chosen.model_dump(mode="json") == {
        "kind": "openvino",
        "precision": "32",
        "threads": 1,
        "exported": str(folder.resolve()),
        "sealed": report.seal,
    }
    assert "openvino 32, the fastest of" in caplog.text and "24 validation cases" in caplog.text
    image = prepare(scan_of(CASES[0], 2), package.plan)[np.newaxis]
    true = TorchConfig(device="cpu").build(package).answer(image).logits
    np.testing.assert_allclose(Config(threads=1).build(package).answer(image).logits, true, atol=1e-4)


@pytest.mark.parametrize(
    "fault",
    [
        {"largest": 2e-4},
        {"flipped": 1},
        {"scope_changed": 1},
        {"scope_moved": 0.2},
        {"not_finite": 1},
        {"auroc_change": 0.01},
        {"failure": "broken"},
    ],
    ids=str,
)
def test_one_that_does_not_agree_is_passed_over_and_named(
    fault: dict[str, Any], package: ModelPackage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "resdx")
    rewrite(folder, {"openvino 32": 0.1, "onnx 32": 0.2}, openvino_32=fault)
    assert Config().resolve(package).kind == "onnx"
    assert "not openvino 32" in caplog.text


def test_other_libraries_than_were_measured_are_passed_over(package: ModelPackage, folder: Path) -> None:
    report = rewrite(folder, {"openvino 32": 0.1, "onnx 32": 0.2}, openvino_32={"versions": {"openvino": "1.0"}})
    row, passed_over = fastest(report)
    assert row is not None and row.title == "onnx 32"
    assert "openvino 1.0" in passed_over[0]


def test_a_wrong_engine_is_measured_as_wrong_and_not_taken(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime is made to answer a little beside the truth, and in no time."""
    from pipeline.engines.onnx.session import OnnxEngine

    answer = OnnxEngine.answer
    found: dict[bytes, Answer] = {}

    def shifted(self: OnnxEngine, images: Any) -> Answer:
        if images.tobytes() not in found:
            logits, features = answer(self, images)
            found[images.tobytes()] = Answer(logits + np.float32(0.01), features)
        return found[images.tobytes()]

    monkeypatch.setattr(OnnxEngine, "answer", shifted)
    report = read_report(export_of(package, tmp_path / "export", to=["onnx"]))

    row = report.row("onnx", "32")
    assert row is not None and "a probability moves by" in row.problem
    chosen, _ = fastest(report)
    assert chosen is not None and chosen.engine["kind"] == "torch"


def test_without_a_report_pytorch_runs_in_float32_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lonely = make_package(tmp_path / "package", ndim=2)
    chosen = Config(threads=1).resolve(lonely)
    assert chosen == REFERENCE.model_copy(update={"threads": 1})
    assert "`resdx export` measures" in caplog.text
    assert Config(threads=1, exported=tmp_path).resolve(lonely) == chosen
    assert "holds no parity report" in caplog.text


def test_a_report_of_another_processor_counts_for_nothing(
    package: ModelPackage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Processor(name="another processor", arithmetic=("avx2",))
    report = read_report(folder).model_copy(update={"processor": other}).sealed()
    (folder / PARITY).write_text(report.model_dump_json(), encoding="utf-8")
    assert Config().resolve(package) == REFERENCE
    assert "another processor" in caplog.text


def test_an_export_of_another_model(
    package: ModelPackage, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Named it is refused; left behind beside a package that was trained again it counts for nothing."""
    other = make_package(tmp_path / "package", ndim=2)
    with pytest.raises(EngineError, match="is an export of model"):
        Config(exported=folder).resolve(other)
    default_folder(other).symlink_to(folder)
    assert Config().resolve(other) == REFERENCE
    assert "another model" in caplog.text


def test_an_edited_report_is_refused(package: ModelPackage, folder: Path) -> None:
    text = (folder / PARITY).read_text(encoding="utf-8")
    (folder / PARITY).write_text(text.replace('"cases": 24', '"cases": 25'), encoding="utf-8")
    with pytest.raises(EngineError, match="changed after it was written"):
        Config().resolve(package)


def test_where_nothing_agrees_pytorch_runs_in_float32(package: ModelPackage, folder: Path) -> None:
    titles = [row.title.replace(" ", "_") for row in read_report(folder).rows]
    rewrite(folder, {}, **{title: {"flipped": 1} for title in titles})
    assert Config().resolve(package) == REFERENCE


class TestOneFolder:
    """A folder of predictions keeps to the engine that was chosen for it first."""

    def test_a_later_run_goes_on_with_the_engine_of_the_first(
        self, package: ModelPackage, folder: Path, tmp_path: Path
    ) -> None:
        asked, path = Config(threads=1), tmp_path / "ledger.sqlite"
        with open_ledger(path) as ledger:
            first = chosen_engine(asked, package, ledger)
        (folder / PARITY).rename(folder / "away")
        try:
            with open_ledger(path) as ledger:
                assert chosen_engine(asked, package, ledger) == first
            assert asked.resolve(package) != first
        finally:
            (folder / "away").rename(folder / PARITY)

    def test_another_export_meanwhile_stops_the_run(self, package: ModelPackage, folder: Path, tmp_path: Path) -> None:
        rewrite(folder, {"onnx 32": 0.1})
        with open_ledger(tmp_path / "ledger.sqlite") as ledger:
            kept = chosen_engine(Config(threads=1), package, ledger)
            assert kept.kind == "onnx"
            rewrite(folder, {"onnx 32": 0.2, "openvino 32": 0.1})
            again = chosen_engine(Config(threads=1), package, ledger)
        assert again == kept
        with pytest.raises(EngineError, match="another export than the one that was chosen"):
            again.build(package)

    @pytest.mark.parametrize("title", ["openvino 32", "onnx 32", "torch 32"])
    def test_going_on_with_another_library_is_told(
        self,
        title: str,
        package: ModelPackage,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Only equal libraries promise equal bytes: half a folder of others is never silent."""
        rewrite(default_folder(package), {title: 0.1})
        with open_ledger(tmp_path / "ledger.sqlite") as ledger:
            first = chosen_engine(Config(threads=1), package, ledger)
            assert first.kind == title.split()[0]
            assert chosen_engine(Config(threads=1), package, ledger) == first
            assert "was begun with" not in caplog.text
            monkeypatch.setattr(libraries, "version", lambda name: "0.1")
            assert chosen_engine(Config(threads=1), package, ledger) == first
        assert "was begun with" in caplog.text and "(here 0.1)" in caplog.text

    def test_the_device_is_part_of_what_is_kept(
        self, package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that is continued on a machine with a GPU does not mix its answers with those of a processor."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with open_ledger(tmp_path / "ledger.sqlite") as ledger:
            first = chosen_engine(TorchConfig(threads=1), package, ledger)
            assert first == TorchConfig(device="cpu", threads=1)
            monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
            assert TorchConfig(threads=1).resolve(package) == TorchConfig(device="cuda", threads=1)
            monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a GPU")
            assert chosen_engine(TorchConfig(threads=1), package, ledger) == first

    def test_another_question_or_model_is_answered_anew(self, package: ModelPackage, tmp_path: Path) -> None:
        other = make_package(tmp_path / "other", ndim=2)
        with open_ledger(tmp_path / "ledger.sqlite") as ledger:
            chosen_engine(Config(threads=1), package, ledger)
            on_cpu = TorchConfig(device="cpu")
            assert chosen_engine(on_cpu, package, ledger) == on_cpu
            assert chosen_engine(Config(threads=1), other, ledger) == REFERENCE.model_copy(update={"threads": 1})


@pytest.mark.parametrize("fields", [FLOAT, {"kind": "auto"}, {"kind": "onnx", "threads": 2}], ids=str)
def test_settings_cross_json(fields: dict[str, Any]) -> None:
    settings: EngineSettings = engine_settings(fields)
    assert engine_settings(settings.model_dump(mode="json")) == settings


def test_an_export_that_was_found_beside_a_package_may_move_with_it(package: ModelPackage, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(package.folder, before / "package")
    shutil.copytree(default_folder(package), before / "package.exported")
    rewrite(before / "package.exported", {"onnx 32": 0.01})
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        first = chosen_engine(Config(threads=1), load_package(before / "package"), ledger)
        before.rename(tmp_path / "after")
        moved = load_package(tmp_path / "after" / "package")
        again = chosen_engine(Config(threads=1), moved, ledger)
    assert first.kind == again.kind == "onnx"
    assert again.model_dump()["exported"] == tmp_path / "after" / "package.exported"
    assert again.model_dump()["sealed"] == first.model_dump()["sealed"]
    again.build(moved)


def test_settings_that_name_no_kind_leave_the_choice_open() -> None:
    def engine(**given: object) -> EngineSettings:
        return PredictConfig.from_mapping({"model": "m", "scans": "s", "out": "o", "engine": given}).engine

    assert engine(threads=2) == Config(threads=2)
    assert engine(exported="e") == Config(exported=Path("e"))
    with pytest.raises(ConfigError, match=r"precision=bf16 needs kind=openvino or torch; .* read as auto"):
        engine(precision="bf16")
