"""A DataLoader that goes on in the middle of an epoch."""

import gc
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader

from pipeline.data.batch import Batch
from pipeline.data.dataset import PreparedDataset
from pipeline.data.sampling import EvenBatches
from pipeline.errors import TrainingError


class CaseLoader(DataLoader[Batch]):
    """Batches of a dataset, as a sampler makes them.

    It has the `state_dict` interface that Lightning saves with a checkpoint and restores before the first batch: the
    epoch, and how many of its batches were handed out. A resumed epoch starts at the next one; those before it are
    not read.

    Parameters
    ----------
    dataset : PreparedDataset
    batches : EvenBatches
    workers : int
        Processes that load; 0 loads in this one.
    """

    def __init__(self, dataset: PreparedDataset, batches: EvenBatches, workers: int) -> None:
        self._batches = batches
        self._handed_out = 0
        self._skip = 0
        super().__init__(
            dataset,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            worker_init_fn=_begin_worker if workers else None,
            # a generator of its own: the global one must not move with the number of times a loader is walked
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # torch declares its private iterator class
        """Hand out the batches of the epoch that is set when the first one is asked for.

        Lightning makes the iterator before it sets the epoch, so nothing may be decided earlier.
        """
        self._batches.start, self._skip = self._skip, 0
        self._handed_out = self._batches.start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    @property
    def batch_sizes(self) -> list[int]:
        """Cases of each batch of an epoch, of all ranks together."""
        return self._batches.sizes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through; Lightning does it by itself."""
        self._batches.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """How far the current epoch is."""
        return {"epoch": self._batches.sampler.epoch, "handed_out": self._handed_out, "batches": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the batches that were handed out; a finished epoch leaves nothing to skip.

        Raises
        ------
        TrainingError
            The epoch was left in its middle and had another number of batches.
        """
        self._handed_out = int(state["handed_out"])  # as a validation that is repeated saves it again
        if state["handed_out"] >= state["batches"]:
            return
        if state["batches"] != len(self):
            raise TrainingError(
                f"The checkpoint stopped after batch {state['handed_out']} of {state['batches']} of an epoch, "
                f"which now has {len(self)} batches.",
                "Resume with the manifest, batch size and number of devices of the interrupted run.",
            )
        self._skip = int(state["handed_out"])


def _begin_worker(worker: int) -> None:
    """Keep the collector of garbage from writing to what came from the main process; live through one SIGTERM."""
    gc.freeze()
    _outlive_sigterm(worker)


def _as_is(batch: Any) -> Any:
    """Pass on what the dataset has collated; a module-level function, so that worker processes can receive it."""
    return batch


def _outlive_sigterm(worker: int) -> None:
    """Let a worker live through one SIGTERM: systemd and SLURM send it to all processes of a run at once.

    The batches that are under way are still wanted, and a worker that died would end the run as a crash before its
    state is saved. A worker ends with its parent all the same, and a second SIGTERM ends it.
    """

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, once)
