"""OpenVINO and ONNX Runtime: every network there is, exports that are read again, and those that are refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.packages import FINDINGS, make_card, make_fingerprint, make_package, make_plan

from pipeline import machine
from pipeline.engines.exports import PARITY, check_measured, check_model, read_report
from pipeline.engines.half import check_half
from pipeline.engines.onnx import Config as OnnxConfig
from pipeline.engines.openvino import Config as OpenvinoConfig
from pipeline.engines.openvino import conversion
from pipeline.engines.openvino.compiled import runner
from pipeline.engines.openvino.conversion import convert, has_bfloat16
from pipeline.engines.openvino.quantization import put_back, quantize, quantized_layers
from pipeline.engines.parity import Processor
from pipeline.engines.settings import engine_settings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.engines.torch.eager import CONVOLUTIONS, TorchEngine
from pipeline.errors import EngineError
from pipeline.networks.classifier import build_classifier
from pipeline.networks.exporting import Traceable
from pipeline.networks.layout import lay_out
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage, save_package

ROOT = Path(__file__).resolve().parents[2]

NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "groups and channel weights": (3, {"backbone": {"norm": "group", "squeeze_excitation": 4}}),
    "instance norm, antialiased": (2, {"backbone": {"norm": "instance", "antialias": True, "stem": "small"}}),
    "antialiased volumes": (3, {"backbone": {"antialias": True, "preactivation": True}}),
    "zero-padded shortcuts": (2, {"backbone": {"shortcut": "A"}}),
    "no norm, deep stem": (2, {"backbone": {"norm": "none", "stem": "deep", "average_shortcut": True}}),
    "bottlenecks of groups": (2, {"backbone": {"depth": 50, "groups": 2}}),
    "slices": (3, {"backbone": {"kind": "slices"}}),
    "slices along another axis": (3, {"backbone": {"kind": "slices", "axis": 1}}),
    "a score for each grade": (2, {"ordinal": "grades"}),
}


def package_of(folder: Path, ndim: int, network: dict[str, Any]) -> ModelPackage:
    """A package of any network whose every layer has a say."""
    backbone = {"kind": "resnet", "depth": 10, "width": 8, "zero_init": False} | network.get("backbone", {})
    settings = NetworkSettings.from_mapping(network | {"backbone": backbone})
    plan = make_plan(ndim)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        classifier = build_classifier(settings, FINDINGS, ndim, plan.channels)
        for name, parameter in classifier.named_parameters():
            if parameter.ndim < 2 or "heads" in name or "weigh" in name:
                parameter.data += 0.3 * torch.randn_like(parameter)
        for _ in range(40):
            classifier.train()(torch.randn((4, plan.channels, *plan.size)))
    return save_package(
        folder,
        classifier_state=classifier.state_dict(),
        network=settings,
        plan=plan,
        fingerprint=make_fingerprint(ndim),
        findings=FINDINGS,
        calibration=(),
        operating_points=(),
        manifest_digest="a" * 64,
        card=make_card(),
    )


def images(package: ModelPackage, count: int = 3) -> np.ndarray:
    shape = (count, package.plan.channels, *package.plan.size)
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_converted_whole(name: str, tmp_path: Path) -> None:
    package = package_of(tmp_path / "package", *NETWORKS[name])
    batch = images(package)
    true = TorchConfig(device="cpu").build(package).answer(batch)
    assert np.ptp(true.logits, axis=0).max() > 1e-2, "all images give the same answer: this test sees nothing"

    for config in (OpenvinoConfig(threads=1), OnnxConfig(threads=1)):
        for mine, theirs in zip(config.build(package).answer(batch), true, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=5e-5 * np.abs(theirs).max(), rtol=0, err_msg=config.kind)


def test_a_traceable_network_answers_as_before(tmp_path: Path) -> None:
    package = package_of(tmp_path / "package", 3, {"backbone": {"antialias": True}, "ordinal": "grades"})
    batch = torch.tensor(images(package))
    with torch.inference_mode():
        true = package.build_classifier().forward_rows(batch)
        np.testing.assert_allclose(Traceable(package.build_classifier())(batch), true, atol=1e-6, rtol=1e-6)


def test_float32_is_asked_for_where_the_processor_would_take_less(tmp_path: Path) -> None:
    package = make_package(tmp_path / "package", ndim=2)
    model = convert(package.build_classifier(), package)
    half = "bf16" if has_bfloat16() else "f32"
    for precision, hint in (("32", "f32"), ("bf16", half), ("int8", "f32")):
        (request,) = runner(model, precision, 1).args  # type: ignore[attr-defined]
        found = request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        assert found.to_string() == hint


def test_half_precision_is_near(tmp_path: Path) -> None:
    package = make_package(tmp_path / "package", ndim=3)
    batch = images(package)
    true = TorchConfig(device="cpu").build(package).answer(batch).features
    for config in (OpenvinoConfig(precision="bf16", threads=1), TorchConfig(precision="bf16", device="cpu")):
        np.testing.assert_allclose(config.build(package).answer(batch).features, true, atol=0.05)


@pytest.mark.parametrize("name", ["plain", *(name for name in NETWORKS if name != "bottlenecks of groups")])
def test_weights_that_are_rounded_once_give_the_bits_of_autocast(name: str, tmp_path: Path) -> None:
    """Not of 50 layers with random weights, which half precision leaves with another answer."""
    package = package_of(tmp_path / "package", *NETWORKS.get(name, (3, {})))
    batch = images(package)
    engine = TorchConfig(precision="bf16", device="cpu").build(package)
    assert isinstance(engine, TorchEngine)
    said = engine.answer(batch)
    modules = [module for one in engine.classifiers for module in one.backbone.modules()]
    assert {one.weight.dtype for one in modules if isinstance(one, CONVOLUTIONS)} == {torch.bfloat16}
    classifier = package.build_classifier()
    lay_out(classifier, torch.channels_last_3d if package.plan.ndim == 3 else torch.contiguous_format)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        rows = [classifier.forward_rows(torch.from_numpy(image[None])).float().numpy() for image in batch]
    np.testing.assert_array_equal(np.concatenate([said.logits, said.features], axis=1), np.concatenate(rows))


@pytest.mark.parametrize("wrong", [np.inf, np.nan, 3.0])
def test_a_faulty_kernel_of_half_precision_is_found(wrong: float) -> None:
    def full(batch: np.ndarray) -> np.ndarray:
        return np.stack([batch.mean(axis=(1, 2, 3)), batch.std(axis=(1, 2, 3))], axis=1)

    def half(batch: np.ndarray) -> np.ndarray:
        return full(batch) + np.array([0, wrong], dtype=np.float32)

    check_half(lambda batch: full(batch) * np.float32(1.01), full, (1, 4, 4), "torch")
    with pytest.raises(EngineError, match=r"bf16 of engine torch.*precision=32"):
        check_half(half, full, (1, 4, 4), "torch")


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_a_missing_library_names_its_extra(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path / "package", ndim=2)
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(EngineError, match=rf'pip install "resdx\[{kind}\]"'):
        engine_settings({"kind": kind}).build(package)


def test_no_library_reports_home(tmp_path: Path) -> None:
    """NNCF sends usage statistics unless its telemetry cannot be imported; a client id in the home is its trace."""
    code = (
        "from pipeline.engines.libraries import library\n"
        "library('openvino', 'openvino'), library('nncf', 'int8')\n"
        "from nncf.telemetry.wrapper import NNCFTelemetry, telemetry\n"
        "assert not isinstance(telemetry, NNCFTelemetry)\n"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | home)
    assert not (tmp_path / "intel").exists()


def test_a_signal_is_handled_after_engines_have_come_and_gone(tmp_path: Path) -> None:
    """OpenVINO's Cores that overlap leave a stack for signals that is freed: the next signal would be SIGSEGV."""
    package = make_package(tmp_path / "package", ndim=2)
    code = (
        "import gc, os, signal\n"
        "from pathlib import Path\n"
        "from pipeline.engines.openvino import Config\n"
        "from pipeline.package.package import load_package\n"
        f"package = load_package(Path({str(package.folder)!r}))\n"
        "one, other = Config().build(package), Config().build(package)\n"
        "del one; gc.collect()\n"
        "del other; gc.collect()\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize(
    ("flags", "is_slow"), [("avx2 fma", True), ("avx2 avx512f", False), ("avx2 amx_bf16", False), ("", False)]
)
def test_bfloat16_that_crawls_is_said(
    flags: str, is_slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(machine, "PROCESSOR", tmp_path / "cpuinfo")
    TorchConfig(device="cpu", precision="bf16").build(make_package(tmp_path / "package", ndim=2))
    assert any("is far faster" in record.getMessage() for record in caplog.records) is is_slow


@pytest.mark.parametrize("is_there", [True, False])
def test_bfloat16_that_openvino_does_not_have_is_said(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(conversion, "has_bfloat16", lambda: is_there)
    OpenvinoConfig(precision="bf16").build(make_package(tmp_path / "package", ndim=2))
    assert any("computes in float32" in record.getMessage() for record in caplog.records) is not is_there


def test_int8_is_made_by_an_export_alone(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"int8 runs what `resdx export` made, and nothing is beside .*package"):
        OpenvinoConfig(precision="int8").build(make_package(tmp_path / "package"))


@pytest.mark.parametrize("name", ["plain", "groups and channel weights", "bottlenecks of groups", "slices"])
def test_layers_that_are_put_back_are_as_they_were(name: str, tmp_path: Path) -> None:
    """All of them: the network of before, to the last bit; some: something between."""
    package = package_of(tmp_path / "package", *NETWORKS.get(name, (3, {})))
    model, batch = convert(package.build_classifier(), package), images(package, 6)
    true = runner(model, "32", 1)(batch)
    quantized = quantize(model, list(batch))
    layers = quantized_layers(quantized, model)

    def error(names: tuple[str, ...]) -> float:
        return float(np.abs(runner(put_back(quantized, model, names), "int8", 1)(batch) - true).max())

    assert len(layers) >= 9
    assert error(()) > 1e-3
    assert error(layers) == 0
    assert 0 < error(layers[:-1]) < error(())
    assert error(()) == pytest.approx(float(np.abs(runner(quantized, "int8", 1)(batch) - true).max()))


class TestFolder:
    """What stands between an export and an engine."""

    @pytest.fixture(scope="class")
    def made(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, Path]:
        from phantoms.engines import decided_package, export_of

        folder = tmp_path_factory.mktemp("exports")
        package = decided_package(folder / "package", ndim=2, members=2)
        return package, export_of(package, folder / "export", int8=False)

    @pytest.fixture
    def copy(self, made: tuple[ModelPackage, Path], tmp_path: Path) -> Path:
        return Path(shutil.copytree(made[1], tmp_path / "export"))

    def test_an_exported_ensemble_answers_as_the_package(self, made: tuple[ModelPackage, Path]) -> None:
        package, folder = made
        batch = images(package)
        true = TorchConfig(device="cpu").build(package).answer(batch)
        for kind in ("openvino", "onnx"):
            settings = engine_settings({"kind": kind, "threads": 1, "exported": str(folder)}).resolve(package)
            assert settings.model_dump()["sealed"] == read_report(folder).seal
            found = engine_settings(settings.model_dump(mode="json")).build(package).answer(batch)
            np.testing.assert_allclose(found.logits, true.logits, atol=1e-4, rtol=1e-5)
            np.testing.assert_allclose(found.features, true.features, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("kind", "name"), [("openvino", "openvino_1.bin"), ("openvino", "openvino_0.xml"), ("onnx", "network_1.onnx")]
    )
    def test_an_edited_file_is_refused(self, kind: str, name: str, made: tuple[ModelPackage, Path], copy: Path) -> None:
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(EngineError, match=f"digest of {name}"):
            engine_settings({"kind": kind, "exported": str(copy)}).build(made[0])

    def test_an_edited_report_is_refused(self, made: tuple[ModelPackage, Path], copy: Path) -> None:
        text = (copy / PARITY).read_text(encoding="utf-8")
        (copy / PARITY).write_text(text.replace('"flipped": 0', '"flipped": 7', 1), encoding="utf-8")
        with pytest.raises(EngineError, match="changed after it was written"):
            OnnxConfig(exported=copy).build(made[0])

    def test_an_export_of_another_model_is_refused(self, copy: Path, tmp_path: Path) -> None:
        other = make_package(tmp_path / "other", ndim=2, members=2)
        for config in (OnnxConfig(exported=copy), OpenvinoConfig(exported=copy)):
            with pytest.raises(EngineError, match="is an export of model"):
                config.build(other)
            with pytest.raises(EngineError, match="is an export of model"):
                config.resolve(other)
        with pytest.raises(EngineError):
            check_model(read_report(copy), other, copy)

    def test_another_export_than_the_one_that_was_chosen_is_refused(
        self, made: tuple[ModelPackage, Path], copy: Path
    ) -> None:
        with pytest.raises(EngineError, match="another export than the one that was chosen"):
            OnnxConfig(exported=copy, sealed="0" * 64).build(made[0])

    def test_a_missing_file_and_a_missing_folder_are_named(self, made: tuple[ModelPackage, Path], copy: Path) -> None:
        (copy / "network_1.onnx").unlink()
        with pytest.raises(EngineError, match=r"network_1\.onnx cannot be read"):
            OnnxConfig(exported=copy).build(made[0])
        with pytest.raises(EngineError, match="is no export"):
            OnnxConfig(exported=copy / "nowhere").build(made[0])

    @pytest.mark.parametrize("change", ["library", "processor"])
    def test_what_was_measured_elsewhere_is_told_and_int8_refused(
        self, change: str, made: tuple[ModelPackage, Path], copy: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        package, report = made[0], read_report(copy)
        agreeing = {"largest": 0.0, "most": 0.0, "auroc_change": None, "flipped": 0}
        report = report.model_copy(update={"rows": tuple(one.model_copy(update=agreeing) for one in report.rows)})
        measured = [("openvino", "32"), ("openvino", "bf16"), ("onnx", "32")]
        assert all(check_measured(report, *one, copy) for one in measured)
        int8 = {"engine": {"kind": "openvino", "precision": "int8"}, "precision": "int8"}
        row = report.row("openvino", "bf16")
        assert row is not None
        report = report.model_copy(update={"rows": (*report.rows, row.model_copy(update=int8))})
        assert check_measured(report, "openvino", "int8", copy)
        assert not caplog.text
        if change == "library":
            rows = tuple(one.model_copy(update={"versions": dict.fromkeys(one.versions, "0.1")}) for one in report.rows)
            report = report.model_copy(update={"rows": rows})
        else:
            report = report.model_copy(update={"processor": Processor(name="another")})
        (copy / PARITY).write_text(report.sealed().model_dump_json(), encoding="utf-8")
        with pytest.raises(EngineError, match=r"int8 .* is not known to agree with PyTorch here.*resdx export"):
            check_measured(report, "openvino", "int8", copy)
        for settings in ({"kind": "openvino"}, {"kind": "openvino", "precision": "bf16"}, {"kind": "onnx"}):
            caplog.clear()
            engine_settings({**settings, "threads": 1, "exported": str(copy)}).build(package)
            assert "is not known to agree with PyTorch here" in caplog.text, settings

    def test_onnx_that_was_measured_as_wrong_is_refused(self, made: tuple[ModelPackage, Path], copy: Path) -> None:
        report = read_report(copy)
        rows = tuple(row.model_copy(update={"largest": 0.5}) for row in report.rows)
        (copy / PARITY).write_text(report.model_copy(update={"rows": rows}).sealed().model_dump_json())
        for kind in ("onnx", "openvino"):
            with pytest.raises(EngineError, match=r"does not agree with float32.*engine\.kind=torch"):
                engine_settings({"kind": kind, "exported": str(copy)}).build(made[0])

    def test_int8_that_is_not_there_is_named(self, made: tuple[ModelPackage, Path], copy: Path) -> None:
        with pytest.raises(EngineError, match=r"holds no openvino_int8_0\.xml"):
            OpenvinoConfig(precision="int8", exported=copy).build(made[0])
