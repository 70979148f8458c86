"""What a run says of devices is Lightning's to understand, and what Lightning cannot do is told as a user's mistake."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.journal import NullJournal
from pipeline.errors import TrainingError
from pipeline.training import trainer as ours
from pipeline.training.callbacks import Recorder
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings

CHOICE = PrecisionChoice(precision="bf16-mixed", reason="test")


def make(folder: Path, **settings: object) -> Any:
    return ours.make_trainer(TrainingSettings.model_validate(settings), CHOICE, folder, Recorder(NullJournal()))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "fsdp", "accelerator": "cpu"}, "fsdp.* requires a GPU"),
        ({"accelerator": "tpu_of_tomorrow"}, "invalid accelerator"),
        ({"strategy": "no_such", "accelerator": "cpu"}, "invalid strategy"),
    ],
)
def test_devices_that_do_not_go_together_are_a_mistake_of_the_settings(
    tmp_path: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(TrainingError, match=says) as raised:
        make(tmp_path, **settings)
    assert f"training.accelerator={settings['accelerator']}" in str(raised.value)


def test_sharding_and_several_machines_reach_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU and no second machine is needed to see what would be asked of them."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(ours.pl, "Trainer", lambda **settings: asked.update(settings))
    make(tmp_path, strategy="fsdp", accelerator="gpu", devices=4, num_nodes=2, accumulate=3)
    expected = {"strategy": "fsdp", "accelerator": "gpu", "devices": 4, "num_nodes": 2, "precision": "bf16-mixed"}
    assert asked | expected | {"accumulate_grad_batches": 3} == asked
