"""The network that weights go into."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.backbones.residual import ResidualNetwork
from pipeline.errors import PretrainedError
from pipeline.networks.classifier import Classifier

RESIDUAL = ("stem.", "stages.")
"""What the names of the residual part begin with; a network of slices has its attention beside it."""


@dataclass(frozen=True, eq=False)
class Target:
    """The network that weights go into, under the names of its residual part.

    Attributes
    ----------
    full : dict of str to str
        Name within the classifier of each tensor.
    beyond : frozenset of str
        Tensors that stand beside the residual part: the attention over slices.
    stages : dict of str to str
        What the names of the tensors of each stage begin with.
    """

    ndim: int
    state: dict[str, Tensor]
    full: dict[str, str]
    beyond: frozenset[str]
    stages: dict[str, str]

    @classmethod
    def of(cls, classifier: Classifier) -> "Target":
        """Describe a classifier."""
        backbone = classifier.backbone
        inner = getattr(backbone, "encoder", backbone)
        assert isinstance(inner, ResidualNetwork), type(inner).__name__
        prefix = "" if inner is backbone else "encoder."
        state = {name.removeprefix(prefix): tensor for name, tensor in backbone.state_dict().items()}
        full = {name.removeprefix(prefix): f"backbone.{name}" for name in backbone.state_dict()}
        beyond = frozenset(name for name in full if not name.startswith(RESIDUAL))
        paths = {module: name for name, module in backbone.named_modules()}
        stages = {name: f"{paths[module].removeprefix(prefix)}." for name, module in backbone.named_stages().items()}
        return cls(inner.ndim, state, full, beyond, stages)

    def prefixes(self, stages: tuple[str, ...]) -> tuple[str, ...]:
        """Return what the names of the tensors of some stages begin with.

        Raises
        ------
        PretrainedError
            The network has no stage of such a name.
        """
        unknown = [name for name in stages if name not in self.stages]
        if unknown:
            raise PretrainedError(
                f"pretrained.fresh names {unknown[0]}, the network has {', '.join(self.stages)}.",
                "Choose among these.",
            )
        return tuple(self.stages[name] for name in stages)

    def names_of(self, stages: tuple[str, ...]) -> frozenset[str]:
        """Names of the tensors of some stages; see :meth:`prefixes`."""
        return frozenset(name for name in self.state if name.startswith(self.prefixes(stages)))
