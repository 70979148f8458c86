"""What the training module does with a batch before the network sees it."""

from pathlib import Path

import torch
from phantoms.spheres import FINDINGS

from pipeline.data.batch import Batch
from pipeline.data.draws import draw
from pipeline.data.settings import AugmentationSettings
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.losses import FindingsLoss
from pipeline.training.module import TrainingModule
from pipeline.training.parts import Parts
from pipeline.training.settings import TrainingSettings


def make_module(folder: Path) -> TrainingModule:
    settings = TrainingSettings()
    network = {"backbone": {"kind": "resnet", "depth": 10, "width": 4}}
    classifier = build_classifier(NetworkSettings.model_validate(network), FINDINGS, 2, 1)
    return TrainingModule(
        classifier,
        FindingsLoss(FINDINGS),
        settings,
        tuning=Tuning(settings.finetune, classifier, 1),
        seed=0,
        memory_format=torch.contiguous_format,
        by_auroc=False,
        parts=Parts(folder),
    )


def test_images_and_labels_move_to_the_device_and_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    """Torch's meta device stands for another one; it needs no hardware."""
    drawn = tuple(draw(AugmentationSettings(), 2, seed=0, epoch=0, case=name) for name in "ab")
    batch = Batch(torch.ones(2, 1, 8, 8), torch.ones(2, 1, dtype=torch.int64), ["a", "b"], drawn)
    moved = make_module(tmp_path).transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert (moved.image.device.type, moved.label.device.type) == ("meta", "meta")
    assert (moved.image.shape, moved.image.dtype, moved.label.dtype) == ((2, 1, 8, 8), torch.float32, torch.int64)
    assert moved.case_id is batch.case_id and moved.draws is drawn
