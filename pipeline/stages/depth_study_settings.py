"""Settings of ``resdx depth-study``."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.backbones.options import NormName, ShortcutName
from pipeline.backbones.resnet import Config as BackboneConfig
from pipeline.data.settings import DataSettings
from pipeline.preprocessing.planning import PlanSettings
from pipeline.readers.options import ReadOptions
from pipeline.stages.worker_settings import WorkerSettings
from pipeline.tracking.settings import TrackingSettings
from pipeline.training.study.record import Shape
from pipeline.training.study.settings import CourseSettings

OWN = ("depth", "residual", "norm")
"""Settings of the backbone that the study sets; as they are by default they say nothing, so that a configuration which
`resdx config depth-study` printed or a study kept can be given again."""


class SharedBackbone(BackboneConfig):
    """What all networks of a study share; with these defaults twins of one seed begin with the same weights."""

    shortcut: ShortcutName = Field(
        default="A",
        description="Where shapes differ: A pads with zeros and has no weights; B projects with a 1x1 convolution; C "
        "projects everywhere.",
    )
    zero_init: bool = Field(
        default=False,
        description="Start every residual block as its shortcut (last layer of the branch 0); a plain one cannot.",
    )


class Config(WorkerSettings):
    """Settings of ``resdx depth-study``."""

    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote.")
    out: Path = Field(description="Folder of the study; the same one again goes on where it stopped.")
    depths: tuple[PositiveInt, ...] = Field(
        default=(20, 56, 110),
        min_length=1,
        description="Layers of the networks to compare, e.g. [18, 34, 50] for images of 64 pixels and more, [20, 56, "
        "110] for smaller ones; see backbone.depth.",
    )
    twins: tuple[Literal["residual", "plain"], ...] = Field(
        default=("residual", "plain"),
        min_length=1,
        description="residual: with shortcuts. plain: the same layers without them, to see what they do.",
    )
    norms: tuple[NormName, ...] = Field(
        default=("batch",),
        min_length=1,
        description="Norms to train every network with. none shows what depth does to gradients that no norm mends.",
    )
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(0,),
        min_length=1,
        description="Of weights, order, augmentation and dropout. Several show how far chance alone moves a result.",
    )
    backbone: SharedBackbone = Field(
        default_factory=SharedBackbone,
        description="What all networks share. Leave depth, residual and norm as they are: depths, twins and norms say "
        "them.",
    )
    course: CourseSettings = Field(default=CourseSettings(), description="Training, the same for every network.")
    plan: PlanSettings = Field(default=PlanSettings(), description="Decisions taken by hand; the others are made.")
    data: DataSettings = Field(default=DataSettings(), description="Loading and augmentation.")
    tracking: TrackingSettings = Field(
        default=TrackingSettings(experiment="depth-study", registered_model="", alias=""),
        description="MLflow: one run, whose charts hold a curve for each network, with the pictures and the page.",
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    cache: Path | None = Field(default=None, description="Folder of prepared cases; null keeps them in `out`.")
    threads: NonNegativeInt = Field(
        default=0, description="CPU threads; 0 leaves PyTorch's choice. Equal threads give equal bits."
    )
    resamples: PositiveInt = Field(
        default=1000,
        description="Bootstrap resamples of the patients, for interval and standard error of each AUROC: with one seed "
        "the depth is chosen by that standard error.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("depths", "twins", "norms", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: {list(values)} names one twice")
        fields = SharedBackbone.model_fields
        if given := sorted(name for name in OWN if getattr(self.backbone, name) != fields[name].default):
            raise ValueError(f"backbone: {', '.join(given)} is what the study varies; give depths, twins and norms")
        for shape in self.shapes:
            self.backbone_of(shape)
        return self

    @property
    def shapes(self) -> list[Shape]:
        """The networks, but for their seeds, in the order of the settings."""
        return [
            Shape(depth, twin == "residual", norm)
            for norm in self.norms
            for depth in self.depths
            for twin in self.twins
        ]

    def backbone_of(self, shape: Shape) -> BackboneConfig:
        """Give the settings of one network, validated."""
        own = {"depth": shape.depth, "residual": shape.residual, "norm": shape.norm}
        return BackboneConfig.model_validate(self.backbone.model_dump() | own)
