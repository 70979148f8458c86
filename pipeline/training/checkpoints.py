"""Checkpoints: written whole or not at all, with a sha256, read without pickle."""

import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.training.sealed import check_seal, previous, write_sealed

log = logging.getLogger("resdx")

BEST = "best.ckpt"
LAST = "last.ckpt"
KEPT_BEST = "resdx_best"
"""Key of a checkpoint under which the best epoch so far and its score stand."""

BEGIN_AGAIN = "Restore it from a backup, or remove the folder `checkpoints` of the run: the same command trains anew."


class SealedCheckpointIO(TorchCheckpointIO):
    """Temporary file, sha256, fsync, rename; the checkpoint before stays as the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint so that a crash leaves the old one or the new one.

        Raises
        ------
        TrainingError
            A weight or running statistic is not finite: no checkpoint ever holds one.
        DiskFull
        """
        bad = next((name for name, tensor in checkpoint["state_dict"].items() if not _finite(tensor)), None)
        if bad is not None:
            raise TrainingError(
                f"Epoch {checkpoint['epoch'] + 1}, step {checkpoint['global_step']}: {bad} is not finite.",
                "Train with plan.precision=32 or a lower training.learning_rate. Checkpoints hold the state before it.",
            )
        write_sealed(Path(path), lambda sink: torch.save(checkpoint, sink))  # type: ignore[arg-type] # it only writes

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """See :func:`load_checkpoint`."""
        return load_checkpoint(Path(path))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours: tensors and plain values only.

    Raises
    ------
    TrainingError
        If it is damaged.
    """
    try:
        check_seal(path)
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except TrainingError as error:
        raise TrainingError(error.message, BEGIN_AGAIN) from error
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is damaged: {' '.join(str(error).split())[:200]}.", BEGIN_AGAIN) from error
    return found


def resumable(folder: Path) -> Path | None:
    """Find the checkpoint that a run goes on from; a damaged last one is replaced by the one before it.

    Returns
    -------
    Path or None
        None where the run has no checkpoint yet.

    Raises
    ------
    TrainingError
        Every checkpoint there is, is damaged.
    """
    for torn in folder.glob(".tmp-*"):  # a run that was killed while it wrote left it
        torn.unlink()
    last, before = folder / LAST, previous(folder / LAST)
    damage: list[TrainingError] = []
    for path in (last, before):
        if not path.is_file():
            continue
        try:
            state = load_checkpoint(path)
        except TrainingError as error:
            damage.append(error)
            continue
        if path == before:
            why = f"{damage[0].message} The" if damage else f"{last} is missing; the"
            log.warning("%s checkpoint before it is used, and what came after is trained again.", why)
            before.replace(last)
        log.info("going on from %s, saved in epoch %d", last.name, state["epoch"] + 1)
        return last
    if damage:
        raise TrainingError(" ".join(error.message for error in damage), BEGIN_AGAIN)
    return None


def find_best(folder: Path, epoch: int, score: float | None = None) -> Path | None:
    """Find a whole checkpoint of the end of the best epoch, counted from 1: usually :data:`BEST`.

    Parameters
    ----------
    score : float, optional
        That the epoch had; where a run was repeated on a GPU, an epoch may stand there with another one.
    """
    for path in _of_best(folder):
        try:
            state = load_checkpoint(path)
        except TrainingError as error:
            log.warning("%s", error.message)
            continue
        kept = state[KEPT_BEST]
        if state["epoch"] + 1 == kept["epoch"] == epoch and score in (None, kept["score"]):
            return path
    return None


def best_weights(folder: Path, epoch: int) -> dict[str, Tensor]:
    """Weights of the epoch that was kept, counted from 1; see :func:`weights`.

    Raises
    ------
    TrainingError
        No whole checkpoint of that epoch is left.
    """
    path = find_best(folder, epoch)
    if path is None:
        raise TrainingError(f"{folder / BEST} is damaged or not of epoch {epoch}, which was the best.", BEGIN_AGAIN)
    return load_weights(path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of the classifier in a checkpoint: the averaged ones where the run averaged them.

    Raises
    ------
    TrainingError
        If the checkpoint is damaged.
    """
    state: Mapping[str, Tensor] = load_checkpoint(path)["state_dict"]
    for prefix in ("averaged.module.", "classifier."):
        found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if found:
            return found
    raise TrainingError(f"{path} holds no classifier.", "Name a checkpoint of a resdx run.")


def _of_best(folder: Path) -> Iterator[Path]:
    """Where the end of the best epoch may lie: `last` too, where the best epoch was the last one."""
    for name in (BEST, LAST):
        yield from (path for path in (folder / name, previous(folder / name)) if path.is_file())


def _finite(tensor: object) -> bool:
    return not isinstance(tensor, Tensor) or bool(tensor.isfinite().all())
