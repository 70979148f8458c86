"""How a network is trained."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.config import Settings
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.finetuning.settings import FinetuneSettings
from pipeline.training.loss_settings import ClassWeights, LossSettings
from pipeline.training.mixing_settings import MixingSettings
from pipeline.training.rate_finder.settings import RateFinderSettings
from pipeline.training.schedule_settings import ScheduleSettings
from pipeline.training.watch.settings import DepthWatchSettings, OverfittingWatchSettings

SHARDING = ("fsdp", "deepspeed")
"""Beginnings of the names of strategies that share out weights and not only cases."""


class TrainingSettings(Settings):
    """Optimisation, selection of the best epoch, and the devices it runs on."""

    epochs: PositiveInt = Field(default=50, description="Passes over the training split.")
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw",
        description="adamw: forgiving of the learning rate (Loshchilov and Hutter 2019). sgd with Nesterov momentum: "
        "a hundred times the learning rate of adamw as a rule, and a well chosen schedule.",
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Memory for gradients: momentum of sgd, the first beta of adamw."
    )
    second_beta: float = Field(
        default=0.999, ge=0, lt=1, description="Of adamw: memory for squared gradients; 0.95 to 0.99 for noisy ones."
    )
    learning_rate: PositiveFloat = Field(default=1e-3, description="Peak of the learning rate.")
    rate_finder: RateFinderSettings = Field(
        default=RateFinderSettings(), description="Find the learning rate instead, before training begins."
    )
    weight_decay: NonNegativeFloat = Field(default=0.01, description="Decay of weights; norms and biases are left out.")
    warmup_epochs: NonNegativeFloat = Field(default=2.0, description="Linear rise of the learning rate, in epochs.")
    final_rate: float = Field(
        default=0.01, ge=0, le=1, description="Where the cosine ends, as a share of the peak learning rate."
    )
    schedule: ScheduleSettings = Field(default=ScheduleSettings(), description="Course of the learning rate.")
    gradient_clip: NonNegativeFloat = Field(default=1.0, description="Largest gradient norm; 0 does not clip.")
    accumulate: PositiveInt = Field(default=1, description="Batches whose gradients make one step, cases alike.")
    micro_batch: PositiveInt | Literal["auto"] = Field(
        default="auto",
        description="Cases that go through the network at once; a step is the same whatever it is, batch norms and "
        "random draws excepted. auto: the whole batch, and half as many each time memory runs out.",
    )
    loss: LossSettings = Field(default=LossSettings(), description="What is minimised.")
    class_weights: ClassWeights = Field(
        default="balanced",
        description="balanced: rarer classes weigh more in the loss, by the inverse of how often training visits them. "
        "effective_number: the same with counts that saturate, milder where classes differ a hundredfold (Cui et al. "
        "2019; loss.beta). none: each case counts alike, and probabilities are those of the training population.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each label that is spread evenly over the answers, 0.05 to 0.1 where labels are noisy "
        "or a network becomes too sure (Szegedy et al. 2016). For every kind of finding.",
    )
    mixing: MixingSettings = Field(
        default=MixingSettings(), description="Mixing of the images of a batch: mixup and cutmix."
    )
    auxiliary: AuxiliarySettings = Field(
        default=AuxiliarySettings(), description="What the network learns to tell beside the findings."
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Average the weights over steps, e.g. 0.99; validation and package use the average. 0: off.",
    )
    monitor: Literal["auto", "auroc", "loss", "last"] = Field(
        default="auto",
        description="What chooses the best epoch on validation. auto: AUROC where validation has both classes, else "
        "the loss. Equal AUROC: the lower loss. last: none is chosen, the last epoch is kept. On fewer than some "
        "hundred validation cases the best AUROC of many epochs is often an early one's by chance, and with a rate "
        "that falls to its end the last is often as good.",
    )
    early_stopping: NonNegativeInt = Field(
        default=0, description="Stop after this many epochs without a better one; 0 trains all epochs."
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        default="auto",
        description="Layout of feature maps in memory. auto takes the faster one where precision is auto too, else "
        "contiguous. channels_last on a processor is proven first, and gives way to contiguous where it fails.",
    )
    compile: Literal["off", "auto"] = Field(
        default="off",
        description="auto: try torch.compile too, and take it where it proves right and takes less than nine tenths of "
        "the time. For long trainings: each size of batch is compiled first, half a minute or more. On one device.",
    )
    checkpoint_steps: NonNegativeInt = Field(
        default=0, description="Also save `last` every so many batches within an epoch; 0 only at its end."
    )
    finetune: FinetuneSettings = Field(
        default=FinetuneSettings(), description="What of a network with loaded weights trains, and how fast."
    )
    depth_watch: DepthWatchSettings = Field(
        default=DepthWatchSettings(), description="Gradients by depth, watched while training."
    )
    overfitting_watch: OverfittingWatchSettings = Field(
        default=OverfittingWatchSettings(), description="The gap between training and validation, measured alike."
    )
    accelerator: str = Field(default="auto", description="Lightning: auto, cpu, gpu, ...")
    devices: PositiveInt | Literal["auto"] = Field(default=1, description="Lightning: devices a node.")
    strategy: str = Field(default="auto", description="Lightning: auto, ddp, fsdp, ...")
    num_nodes: PositiveInt = Field(default=1, description="Lightning: machines, started by torchrun or SLURM.")

    @model_validator(mode="after")
    def _compiles_alone(self) -> Self:
        if self.compile != "off" and (self.devices != 1 or self.num_nodes != 1):
            raise ValueError("compile: auto needs devices: 1 and num_nodes: 1; it was not proven with several")
        return self

    @model_validator(mode="after")
    def _has_a_last_epoch(self) -> Self:
        if self.monitor == "last" and self.early_stopping:
            raise ValueError("monitor: last keeps the last of all epochs; leave early_stopping out, or choose by score")
        if self.monitor == "last" and self.schedule.kind == "plateau":
            raise ValueError("monitor: last and schedule.kind: plateau exclude each other: validation steers a plateau")
        return self

    @model_validator(mode="after")
    def _corrects_once(self) -> Self:
        if self.loss.kind == "logit_adjusted" and self.class_weights != "none":
            raise ValueError(
                f"loss.kind logit_adjusted and class_weights {self.class_weights} both make up for rare classes; "
                "set class_weights: none"
            )
        return self

    @model_validator(mode="after")
    def _learns_beside_whole_images(self) -> Self:
        if not self.auxiliary.active:
            return self
        if self.mixing.active:
            raise ValueError("auxiliary needs mixing off: nothing was measured of a mixed image")
        if self.compile != "off":
            raise ValueError("auxiliary needs compile: off; it was not proven compiled")
        if self.strategy.startswith(SHARDING):
            raise ValueError(f"auxiliary needs strategy: auto or ddp; it was not proven with {self.strategy}")
        return self

    @model_validator(mode="after")
    def _passes_whole_batches(self) -> Self:
        if self.micro_batch != "auto" and self.strategy.startswith(SHARDING):
            raise ValueError(
                f"micro_batch needs strategy: auto or ddp; with {self.strategy} make plan.batch_size smaller"
            )
        if self.ema_decay and self.strategy.startswith(SHARDING):
            raise ValueError(f"ema_decay needs strategy: auto or ddp; {self.strategy} holds weights in shares")
        return self

    @model_validator(mode="after")
    def _tunes_whole_weights(self) -> Self:
        if self.finetune.active and self.strategy.startswith(SHARDING):
            raise ValueError(f"finetune needs strategy: auto or ddp; {self.strategy} splits weights by other borders")
        return self
