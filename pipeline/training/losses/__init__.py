"""Losses of each kind of finding: unknown labels are masked, rare classes weigh more, everything is float32."""

from pipeline.training.losses.class_counts import check_learnable, class_weights
from pipeline.training.losses.findings_loss import FindingsLoss
from pipeline.training.losses.recipe import training_loss

__all__ = ["FindingsLoss", "check_learnable", "class_weights", "training_loss"]
