"""From the package of one training to another, fine-tuned through adapters: a plain package comes out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.spheres import FINDINGS, make_manifest, read

from pipeline.domain.case import Split
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import ConfigError
from pipeline.networks.classifier import build_classifier
from pipeline.package.package import load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages.train import Config, train
from pipeline.tracking.journal import journal_path
from pipeline.training.checkpoints import load_weights
from pipeline.training.finetuning.adapters import adapt
from pipeline.training.finetuning.settings import LoraSettings

MANIFEST = make_manifest(train=24, validation=12)
LORA = {"rank": 2, "alpha": 8}


def make_config(out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "manifest": "cohort.csv",
        "out": str(out),
        "processes": 0,
        "network": {"backbone": {"kind": "resnet", "width": 4, "depth": 14}},
        "plan": {"precision": "32", "batch_size": 8},
        "training": {"epochs": 2, "accelerator": "cpu", "learning_rate": 0.01, "warmup_epochs": 0},
        "tracking": {"enabled": False, "system_seconds": 0},
    }
    return Config.from_mapping(settings | changes)


def test_a_package_is_fine_tuned_into_a_plain_package(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    first = make_config(tmp_path / "first")
    train(first, MANIFEST, read)
    finetune = {"lora": LORA, "frozen": ["stem"], "norms": "fixed_statistics", "layer_decay": 0.8}
    training = first.training.model_dump() | {"finetune": finetune, "ema_decay": 0.5}
    out = tmp_path / "second"
    train(make_config(out, training=training, pretrained={"file": tmp_path / "first" / "package"}), MANIFEST, read)

    package = load_package(out / "package")
    adapted = build_classifier(package.network, FINDINGS, 3, 1)
    adapt(adapted, LoraSettings.model_validate(LORA), without=("stem",))
    adapted.load_state_dict(load_weights(out / "checkpoints" / "best.ckpt"))
    cache = PreparedCache(out / "cache", package.plan, read)
    engine = TorchConfig().build(package)
    for case in MANIFEST.of(Split.VALIDATION)[:4]:
        image = np.asarray(cache.load(case))[np.newaxis]
        with torch.no_grad():
            expected = adapted.eval()(torch.from_numpy(image.copy()))
        np.testing.assert_allclose(engine.answer(image).logits, expected.numpy(), atol=1e-5)

    notes = " ".join(package.card.notes)
    assert "parameters train" in notes
    assert "Adapters (LoRA) of rank 2 in stage1, stage2, stage3, stage4, merged" in notes
    entries = [json.loads(line) for line in journal_path(out).read_text(encoding="utf-8").splitlines()]
    assert "parameters train" in json.dumps(entries)
    assert load_package(tmp_path / "first" / "package").network == package.network


def test_a_stage_that_does_not_exist_is_named_before_scans_are_prepared(tmp_path: Path) -> None:
    training = {"epochs": 2, "accelerator": "cpu", "finetune": {"frozen": ["layer1"]}}
    with pytest.raises(ConfigError, match="no stage 'layer1', it has stem, stage1, stage2, stage3, stage4"):
        train(make_config(tmp_path / "run", training=training), MANIFEST, read)
    assert (tmp_path / "run" / "plan.json").is_file()
    assert not (tmp_path / "run" / "cache").exists()
