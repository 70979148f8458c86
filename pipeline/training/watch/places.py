"""Where in its depth a network is measured: the stem, every block of each stage, the heads."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from pipeline.backbones.blocks import Block, ResidualSum
from pipeline.networks.classifier import HEADS, Classifier


@dataclass(frozen=True)
class Place:
    """One step of the way from the image to the logits.

    Attributes
    ----------
    stage : str
        ``stem``, ``stage1``, ... as :meth:`pipeline.backbones.backbone.Backbone.named_stages` says, or ``heads``.
    name : str
        The stage, or ``stage1.0`` for its first block.
    parameters : tuple of nn.Parameter
    residual_sum : ResidualSum or None
        Where the branch of the block meets its shortcut; None where there is none: stem, heads, plain networks.
    """

    stage: str
    name: str
    parameters: tuple[nn.Parameter, ...]
    residual_sum: ResidualSum | None


def places_of(classifier: Classifier) -> tuple[Place, ...]:
    """All places of a classifier that have weights, from the image on."""
    return tuple(place for place in _all(classifier) if place.parameters)


def _all(classifier: Classifier) -> Iterator[Place]:
    for stage, module in classifier.backbone.named_stages().items():
        if isinstance(module, nn.Sequential):
            for number, block in enumerate(module):
                yield _place(stage, f"{stage}.{number}", block)
        else:
            yield _place(stage, stage, module)
    yield _place(HEADS, HEADS, classifier.heads)


def _place(stage: str, name: str, module: nn.Module) -> Place:
    meeting = module.sum if isinstance(module, Block) and module.shortcut is not None else None
    return Place(stage, name, tuple(module.parameters()), meeting)
