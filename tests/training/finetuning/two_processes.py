"""Fine-tune in two processes, joined by gloo: each leaves its weights after the run. Started by test_processes.py."""

import sys
from pathlib import Path

import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest

from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.journal import NullJournal
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.finetuning.beginning import begin
from pipeline.training.fitting import fit
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings


def main(folder: Path, rank: int, epochs: int) -> None:
    torch.manual_seed(5)
    backbone = {"kind": "resnet", "depth": 10, "width": 4, "norm": "group"}
    classifier = build_classifier(NetworkSettings.from_mapping({"backbone": backbone}), FINDINGS, 2, 1)
    settings = TrainingSettings.model_validate(
        {
            "epochs": epochs,
            "warmup_epochs": 0,
            "accelerator": "cpu",
            "devices": 2,
            "strategy": "ddp",
            "finetune": {"frozen": ["stem", "stage1"], "thaw": {"stage1": 1}, "layer_decay": 0.7},
        }
    )
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    begin(classifier, settings.finetune, settings.epochs)
    manifest = make_manifest(ndim=2)
    fit(
        classifier,
        make_data(folder / f"cache{rank}", manifest, ndim=2, seed=5),
        settings,
        labels={split: encode_labels(manifest.of(split), FINDINGS) for split in Split},
        folder=folder / "run",
        precision=PrecisionChoice(reason="test"),
        journal=NullJournal(),
        seed=5,
    )
    torch.save({"before": before, "after": classifier.state_dict()}, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
