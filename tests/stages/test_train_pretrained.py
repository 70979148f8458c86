"""Training that begins with weights of a file: what the run keeps of it, and when it refuses to go on."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from phantoms.peers import monai, saved
from phantoms.spheres import make_manifest, read

from pipeline.errors import PretrainedError, UsageError
from pipeline.networks.classifier import Classifier
from pipeline.package.package import load_package
from pipeline.stages import train as stage
from pipeline.stages.train import Config, train
from pipeline.tracking.journal import FileJournal, journal_path
from pipeline.training.precision import PrecisionChoice, choose_precision

MANIFEST = make_manifest(train=12, validation=6)


def make_config(out: Path, file: Path | None, **pretrained: Any) -> Config:
    return Config.from_mapping(
        {
            "manifest": "/somewhere/secret/cohort.csv",
            "out": str(out),
            "seed": 3,
            "processes": 0,
            "network": {"backbone": {"kind": "resnet", "width": 8, "depth": 10, "stem": "large", "strides": "auto"}},
            "pretrained": {"file": file and str(file), "axes": "ijk", **pretrained},
            "plan": {"precision": "32", "batch_size": 6},
            "training": {"epochs": 2, "accelerator": "cpu", "learning_rate": 1e-3, "warmup_epochs": 1},
            "tracking": {"enabled": False, "system_seconds": 0},
        }
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(monai(10, 3, bias=False).state_dict(), tmp_path_factory.mktemp("secret") / "med.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Path:
    """A run whose precision was proven on the weights of the file."""
    out = tmp_path_factory.mktemp("trained") / "run"
    stem = torch.load(file, weights_only=True)["conv1.weight"]

    def watched(*arguments: Any, **others: Any) -> PrecisionChoice:
        (network,) = [argument for argument in arguments if isinstance(argument, Classifier)]
        assert torch.equal(network.backbone.stem.conv.weight, stem)
        return choose_precision(*arguments, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "choose_precision", watched)
        train(make_config(out, file), MANIFEST, read)
    return out


def test_run_and_card_say_what_the_weights_were(trained: Path, file: Path) -> None:
    report = json.loads((trained / "pretrained.json").read_text())
    (note,) = [note for note in load_package(trained / "package").card.notes if "weights of med.pt" in note]
    assert report["digest"][:16] in note and "heads fresh" in note and "60 tensors taken" in note
    journal = journal_path(trained).read_text()
    assert f'"resdx.pretrained":"{report["digest"]}"' in journal.replace(" ", "")
    assert '"pretrained.file":"med.pt"' in journal.replace(" ", "") and "pretrained.json" in journal
    assert "secret" not in journal


def test_the_file_may_move_but_not_change(trained: Path, file: Path, tmp_path: Path) -> None:
    before = load_package(trained / "package").digest
    moved = Path(shutil.copy(file, tmp_path / "moved.pt"))
    train(make_config(trained, moved), MANIFEST, read)
    assert load_package(trained / "package").digest == before
    changed = saved(monai(10, 3, bias=False).state_dict(), tmp_path / "med.pt")
    with pytest.raises(UsageError, match=r"pretrained digest: was '[0-9a-f]{64}', is '[0-9a-f]{64}'"):
        train(make_config(trained, changed), MANIFEST, read)
    with pytest.raises(UsageError, match=r"pretrained digest: was '[0-9a-f]{64}', is None"):
        train(make_config(trained, None), MANIFEST, read)


def test_a_run_that_goes_on_takes_its_weights_from_the_checkpoint(trained: Path, file: Path, tmp_path: Path) -> None:
    def crashing(self: FileJournal, values: Mapping[str, float], step: int) -> None:
        if step == 2:
            raise RuntimeError("power failure")

    config = make_config(tmp_path / "run", file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileJournal, "metrics", crashing)
        with pytest.raises(RuntimeError, match="power failure"):
            train(config, MANIFEST, read)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    train(config, MANIFEST, read)
    one, other = (
        safetensors.torch.load_file(folder / "package" / "weights.safetensors")
        for folder in (trained, tmp_path / "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    start = torch.load(file, weights_only=True)["layer4.0.conv2.weight"]
    assert not torch.equal(one["backbone.stages.3.0.conv2.weight"], start)


def test_a_file_that_changes_while_scans_are_prepared_is_refused(tmp_path: Path) -> None:
    file = saved(monai(10, 3, bias=False).state_dict(), tmp_path / "med.pt")
    original = stage.prepare

    def prepared(*arguments: Any) -> Any:
        experiment = original(*arguments)
        saved(monai(10, 3, bias=False).state_dict(), file)
        return experiment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "prepare", prepared)
        with pytest.raises(PretrainedError, match="has changed since this run began"):
            train(make_config(tmp_path / "run", file), MANIFEST, read)


def test_weights_that_do_not_fit_are_refused_before_a_scan_is_prepared(file: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run", file)
    other = Config.from_mapping(config.model_dump(mode="json") | {"network": {"backbone": {"kind": "resnet"}}})
    with pytest.raises(PretrainedError, match=r"likely cause: stem: the weights have a 7x7 stem, yours is 3x3"):
        train(other, MANIFEST, read)
    assert not list((tmp_path / "run").rglob("cache/*"))


def test_a_file_that_is_not_there_is_refused_before_the_run_begins(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="cannot be read"):
        train(make_config(tmp_path / "run", tmp_path / "absent.pt"), MANIFEST, read)
    assert not (tmp_path / "run").exists()
