"""Settings of ``resdx sweep``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from pipeline.config import Settings
from pipeline.training.run_folder import flatten
from pipeline.training.search.settings import Dimension


class Config(Settings):
    """Settings of ``resdx sweep``."""

    base: str = Field(
        description="What every trial begins with: a YAML file of `resdx train`, or a shipped one's name."
    )
    settings: dict[str, Any] = Field(
        default={}, description="Settings of `resdx train` set for all trials over `base`, e.g. {training.epochs: 30}."
    )
    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote. Its test split is not read.")
    out: Path = Field(description="Folder of the search; the same one again goes on where it stopped.")
    space: dict[str, Dimension] = Field(
        min_length=1,
        description="Setting of `resdx train` by dotted key, and what it may be, e.g. training.learning_rate: {kind: "
        "float, low: 1e-4, high: 1e-2, log: true}. Kinds: float (low, high, log, step), int (the same), categorical "
        "(choices: words, numbers, lists).",
    )
    trials: PositiveInt = Field(default=30, description="Trainings in all, by all processes; more may be added later.")
    objective: Literal["auroc", "loss"] = Field(
        default="auroc",
        description="What is searched for on validation, at the epoch that a trial keeps: the highest mean AUROC of "
        "the findings, or the lowest loss. With folds or seeds in the base: its mean over the members.",
    )
    seed: NonNegativeInt = Field(default=0, description="Of the sampler. That of the trainings is the base's.")
    startup_trials: PositiveInt = Field(default=10, description="Trials drawn at random before TPE learns from them.")
    pruner: Literal["none", "median"] = Field(
        default="none",
        description="median: give a trial up whose best score so far is below the median of the others' at that epoch. "
        "Saves time; schedules that end low (cosine, one cycle) mislead it, so it is off.",
    )
    pruner_warmup: NonNegativeInt = Field(default=10, description="Epochs in which no trial is given up.")
    storage: str = Field(
        default="",
        description="Where the trials stand. Empty: SQLite in `out`, which several processes of one machine may share. "
        "Several machines: a database (postgresql+psycopg2://...) or journal:PATH on a shared disk. A password is used "
        "and not kept.",
    )
    study: str = Field(default="", description="Name of the search in its storage; empty takes the name of `out`.")

    @property
    def name(self) -> str:
        """Name of the search."""
        return self.study or self.out.resolve().name

    @property
    def maximise(self) -> bool:
        """Whether higher is better."""
        return self.objective == "auroc"

    def over_base(self, values: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """Set, by dotted key, what of one training stands over the base."""
        return flatten(self.settings) | {"manifest": str(self.manifest), "out": str(out)} | dict(values)

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield settings at the ends of the space, one key at a time, to see that each is valid."""
        middle = {key: one.ends[0] for key, one in self.space.items()}
        yield middle
        for key, one in self.space.items():
            yield from (middle | {key: value} for value in one.ends[1:])
