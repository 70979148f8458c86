"""How many cases go through the network at once: a step's batch in parts, and in smaller ones where memory runs out."""

import itertools
import logging
from pathlib import Path

from pydantic import PositiveInt, ValidationError

from pipeline import atomic
from pipeline.domain.frozen import Frozen
from pipeline.errors import TrainingError

log = logging.getLogger("resdx")

KEPT = "micro_batch.json"
"""In the folder of checkpoints: what memory allowed, for the rest of the run and when it goes on."""


class MicroBatch(Frozen):
    """What memory allowed.

    Attributes
    ----------
    cases : int
        Most cases that may go through the network at once, on each device.
    told : str
        What was said of it.
    """

    cases: PositiveInt
    told: str


class Parts:
    """The parts of each batch.

    Gradients of the parts add up to that of the whole batch, for each part weighs by its known labels; only statistics
    of batch norms and random draws (dropout, stochastic depth) are taken part by part.

    Parameters
    ----------
    folder : Path
        Where the choice is kept.
    most : int, optional
        Cases of a part at most; what was kept may be less.

    Attributes
    ----------
    told : tuple of str
        Of memory that ran out, for the card of the model.
    tried : int
        Cases of the largest part of the step under way; 0 between steps.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        self.told: tuple[str, ...] = ()
        self.tried = 0
        self._path = folder / KEPT
        self._most = most
        if self._path.is_file():
            kept = _read(self._path)
            self._most = min(kept.cases, most or kept.cases)
            self.told = (kept.told,)

    def begin(self, cases: int) -> list[slice]:
        """Cut a batch into parts of nearly equal size."""
        count = -(-cases // self._most) if self._most else 1
        size, larger = divmod(cases, count)
        ends = [number * size + min(number, larger) for number in range(count + 1)]
        self.tried = size + bool(larger)
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def end(self) -> None:
        """Note that memory held the step."""
        self.tried = 0

    def shrink(self) -> None:
        """Halve the parts that memory did not hold, and keep that.

        Raises
        ------
        TrainingError
            They are single cases already.
        """
        if self.tried == 1:
            raise TrainingError(
                "Memory does not hold one case at a time.",
                "Set network.backbone.checkpointing=true, a smaller plan.size, or a narrower network.",
            )
        cases = self.tried // 2
        told = (
            f"Memory did not hold {self.tried} cases at once: at most {cases} went through the network at a time from "
            "there on. A step kept the gradient of all its cases; statistics of batch norms, where there are such, "
            "were those of the smaller parts."
        )
        log.warning("%s", told)
        atomic.write_text(self._path, MicroBatch(cases=cases, told=told).model_dump_json(indent=2) + "\n")


def _read(path: Path) -> MicroBatch:
    try:
        return MicroBatch.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(f"{path} is damaged.", "Remove it: memory will be tried again.") from error
