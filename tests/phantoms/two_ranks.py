"""Short trainings that several processes make together, or one process with larger batches; see test_ranks.py.

Started by torchrun, or as SLURM does: each rank leaves what it saw of every step in FOLDER/NAME.rankR.json.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from phantoms.spheres import FINDINGS, make_data, make_manifest
from phantoms.trainings import AUXILIARY, SEED, Memory, network, train

from pipeline.data.batch import Batch
from pipeline.domain.manifest import Manifest
from pipeline.errors import StoppedBySignal
from pipeline.training.finetuning.beginning import begin
from pipeline.training.finetuning.settings import FinetuneSettings
from pipeline.training.module import TrainingModule
from pipeline.training.ranks import rank_of

TRAININGS: dict[str, dict[str, Any]] = {
    "group": {"backbone": {"norm": "group"}, "ema_decay": 0.9, "depth_watch": {"every": 1}, **AUXILIARY},
    "stopped": {"backbone": {"norm": "group"}, "ema_decay": 0.9, "depth_watch": {"every": 1}, **AUXILIARY},
    "balanced": {"backbone": {"norm": "group"}, "data": {"balance": "lesion"}},
    "single": {"backbone": {"norm": "group"}, "batch": 2, "epochs": 1},
    "parts": {"backbone": {"norm": "group"}, "micro_batch": 3, "optimizer": "sgd"},
    "fixed_statistics": {"finetune": {"norms": "fixed_statistics"}},
    "frozen": {"finetune": {"norms": "frozen"}},
    "batch": {},
}
"""Settings of each; `batch` is the number of cases of a step in all, 8 where it is not given."""


def manifest() -> Manifest:
    """31 training and 15 validation cases; every fourth lacks one of its two labels, some both."""
    whole = make_manifest(train=31, validation=15, ndim=2)
    kept = [
        case.model_copy(
            update={"labels": {f.name: case.labels[f.name] for i, f in enumerate(FINDINGS) if (n * 7 + 3 * i) % 4}}
        )
        for n, case in enumerate(whole.cases)
    ]
    return whole.model_copy(update={"cases": tuple(kept)})


def watch_steps(seen: list[dict[str, Any]], stop_at: int) -> None:
    """Note cases and loss of each step; send SIGTERM to this process in step `stop_at`."""
    step = TrainingModule.training_step

    def watched(self: TrainingModule, batch: Batch, batch_idx: int) -> Any:
        if len(seen) + 1 == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        loss = step(self, batch, batch_idx)
        seen.append({"cases": batch.case_id, "loss": self.batch_loss})
        return loss

    TrainingModule.training_step = watched  # type: ignore[method-assign]


def watch_validation(seen: list[dict[str, list[float]]]) -> None:
    """Note the logits of each validation case, of all ranks together, epoch by epoch."""
    end = TrainingModule.on_validation_epoch_end

    def watched(self: TrainingModule) -> None:
        end(self)
        seen.append({case: logits.tolist() for case, (logits, _) in self.validated.items()})

    TrainingModule.on_validation_epoch_end = watched  # type: ignore[method-assign]


def run(folder: Path, cache: Path, name: str, *, ranks: int) -> dict[str, Any]:
    """Train; returns the rows of the journal and the history."""
    settings = dict(TRAININGS[name])
    cases, batch = manifest(), settings.pop("batch", 8)
    data = make_data(cache, cases, ndim=2, batch_size=batch // ranks, seed=SEED, **settings.pop("data", {}))
    classifier = network(**settings.pop("backbone", {}))
    begin(classifier, FinetuneSettings.model_validate(settings.get("finetune", {})), 2)
    where = {"devices": ranks, "strategy": "ddp"} if ranks > 1 else {}
    made: dict[str, Any] = {"classifier": classifier, "data": data, "manifest": cases, "journal": Memory()}
    fitted = train(folder / name, cache, **made, **settings, **where)
    return {"rows": made["journal"].rows, "history": fitted.history}


def watched(folder: Path, cache: Path, name: str, *, ranks: int = 1, stop_at: int = 0) -> dict[str, Any]:
    """Train; also returns what was seen of each step."""
    seen: list[dict[str, Any]] = []
    validated: list[dict[str, list[float]]] = []
    step, end = TrainingModule.training_step, TrainingModule.on_validation_epoch_end
    watch_steps(seen, stop_at)
    watch_validation(validated)
    try:
        return run(folder, cache, name, ranks=ranks) | {"steps": seen, "validated": validated}
    except StoppedBySignal as stop:
        return {"stopped": stop.exit_code, "steps": seen}
    finally:
        TrainingModule.training_step = step  # type: ignore[method-assign]
        TrainingModule.on_validation_epoch_end = end  # type: ignore[method-assign]


def main(folder: Path, names: list[str]) -> None:
    """Make trainings one after the other; NAME@STEP sends SIGTERM to the last rank in that step."""
    rank, ranks = rank_of(), int(os.environ.get("WORLD_SIZE") or os.environ["SLURM_NTASKS"])
    for name in names:
        training, _, stop = name.partition("@")
        stop_at = int(stop or 0) if rank == ranks - 1 else 0
        found = watched(folder, folder / f"cache{rank}", training, ranks=ranks, stop_at=stop_at)
        (folder / f"{name}.rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
