"""What an optimizer step is made of, as Lightning and its precision have prepared it."""

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn
from torch.optim import Optimizer


def steps_whole_gradients(trainer: pl.Trainer) -> bool:
    """Whether the gradients of a step stand in the parameters whole, and without the scale of mixed precision.

    With a gradient scaler it is the scaler that looks at them and skips a step; strategies that share out weights keep
    them in parts.
    """
    plugin, strategy = trainer.precision_plugin, trainer.strategy
    scaled = isinstance(plugin, MixedPrecision) and plugin.scaler is not None
    return not scaled and isinstance(strategy, SingleDeviceStrategy | DDPStrategy)


def stepped_parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """Parameters that have a gradient for this step."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
