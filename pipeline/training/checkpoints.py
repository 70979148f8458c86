"""Checkpoints: written whole or not at all, read without pickle."""

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from pipeline import atomic
from pipeline.errors import TrainingError
from pipeline.training.module import SCORE

BEST = "best.ckpt"
LAST = "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Temporary file, fsync, rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint so that a crash leaves the old one or the new one."""
        atomic.write_with(Path(path), lambda temporary: torch.save(checkpoint, temporary))


def best_checkpoint(folder: Path) -> ModelCheckpoint:
    """Make the callback that keeps the epoch of the highest score."""
    return _keep(folder, BEST, monitor=SCORE)


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """Make the callback that keeps the state of the run; it must stand last, for it saves the others' state too."""
    return _keep(folder, LAST, monitor=None)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours: tensors and plain values only.

    Raises
    ------
    TrainingError
        If it is damaged.
    """
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged: {' '.join(str(error).split())[:200]}",
            f"Remove {path.name} to begin again, or restore it from a backup.",
        ) from error
    return found


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of the classifier in a checkpoint: the averaged ones where the run averaged them.

    Raises
    ------
    TrainingError
        If the checkpoint is damaged.
    """
    state: dict[str, Tensor] = load_checkpoint(path)["state_dict"]
    for prefix in ("averaged.module.", "classifier."):
        found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if found:
            return found
    raise TrainingError(f"{path} holds no classifier.", "Name a checkpoint of a resdx run.")


def _keep(folder: Path, name: str, monitor: str | None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename=Path(name).stem,
        monitor=monitor,
        mode="max",
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
