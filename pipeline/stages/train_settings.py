"""Settings of ``resdx train``."""

from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeInt, model_validator

from pipeline.data.settings import DataSettings
from pipeline.evaluation.operating_points import OperatingRule
from pipeline.networks.pretrained.settings import PretrainedSettings
from pipeline.networks.settings import NetworkSettings
from pipeline.preprocessing.planning import PlanSettings
from pipeline.readers.options import ReadOptions
from pipeline.stages.worker_settings import WorkerSettings
from pipeline.tracking.settings import TrackingSettings
from pipeline.training.settings import TrainingSettings

FREE = frozenset(
    {
        "tracking",
        "cache",
        "processes",
        "seconds_per_case",
        "memory_bytes",
        "resume",
        "seeds",
        "data.workers",
        "manifest",
        "out",
        "pretrained.file",
        "training.depth_watch",
        "training.micro_batch",
        "training.overfitting_watch",
    }
)
"""Settings that may differ when a run goes on. That manifest and weights are the same is checked by their digests."""


class Config(WorkerSettings):
    """Settings of ``resdx train``."""

    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote.")
    out: Path = Field(description="Run folder: plan, checkpoints, journal and the model package.")
    name: str = Field(default="", description="Name of the model in its card; empty takes the run folder's.")
    intended_use: str = Field(default="", description="What the model is for, in words; stands in its card.")
    seed: NonNegativeInt = Field(default=0, description="Of weights, order, augmentation and dropout.")
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(),
        description="Train one network for each of these seeds, and pack them as an ensemble whose logits are "
        "averaged; more may be added later. Empty: one network, of `seed`.",
    )
    folds: NonNegativeInt = Field(
        default=0,
        description="Cross-validation: deal the patients of training and validation to so many folds (by `seed`), "
        "train a network without each (and for each of `seeds`), and pack all as an ensemble that is calibrated out "
        "of fold. The test split is left alone. 0: the splits of the manifest.",
    )
    resume: bool = Field(default=True, description="Go on with the run that `out` holds; false refuses such a folder.")
    network: NetworkSettings = Field(default_factory=NetworkSettings, description="Backbone and head.")
    pretrained: PretrainedSettings = Field(
        default=PretrainedSettings(), description="Weights to begin with; `file` null: random ones."
    )
    plan: PlanSettings = Field(default=PlanSettings(), description="Decisions taken by hand; the others are made.")
    data: DataSettings = Field(default=DataSettings(), description="Loading and augmentation.")
    training: TrainingSettings = Field(default=TrainingSettings(), description="Optimisation, selection, devices.")
    operating_point: OperatingRule = Field(default=OperatingRule(), description="How the threshold is chosen.")
    tta_flips: tuple[NonNegativeInt, ...] = Field(
        default=(),
        description="Spatial axes over whose mirror images predictions are averaged. Only where the side does not "
        "matter; doubles the time of a prediction for each axis.",
    )
    tracking: TrackingSettings = Field(default=TrackingSettings(), description="MLflow.")
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    cache: Path | None = Field(default=None, description="Folder of prepared cases; null keeps them in `out`.")
    threads: NonNegativeInt = Field(
        default=0, description="CPU threads; 0 leaves PyTorch's choice. Equal threads give equal bits."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folds == 1 or (not self.folds and len(self.seeds) == 1):
            raise ValueError("an ensemble has several members: give two folds or two seeds at least")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names one twice")
        if (self.folds or self.seeds) and (self.training.devices != 1 or self.training.num_nodes != 1):
            raise ValueError("folds and seeds train one network after the other, each on one device")
        return self
