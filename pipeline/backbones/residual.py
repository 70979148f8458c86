"""The residual network in 2D and 3D: a stem and stages of blocks, each stage halving the map and doubling its width."""

from torch import Tensor, nn

from pipeline.backbones.backbone import Backbone
from pipeline.backbones.blocks import BasicBlock, Block, BottleneckBlock
from pipeline.backbones.checkpointing import checkpointed
from pipeline.backbones.layers import LayerFactory
from pipeline.backbones.operators import OPERATORS
from pipeline.backbones.options import STEM_STEPS, BlockName
from pipeline.backbones.preactivation import Activation, PreActivationBasicBlock, PreActivationBottleneckBlock
from pipeline.backbones.residual_settings import ResidualSettings
from pipeline.backbones.stems import Stem

BLOCKS: dict[tuple[BlockName, bool], type[Block]] = {
    ("basic", False): BasicBlock,
    ("bottleneck", False): BottleneckBlock,
    ("basic", True): PreActivationBasicBlock,
    ("bottleneck", True): PreActivationBottleneckBlock,
}
"""By kind of block and whether norm and relu come first."""


class ResidualNetwork(Backbone):
    """Stem and stages.

    Parameters
    ----------
    settings : ResidualSettings
    ndim : int
        Spatial axes.
    channels : int
        Of the images.

    Attributes
    ----------
    stem : Stem
    stages : nn.ModuleList
        One ``nn.Sequential`` of blocks a stage; that of the last stage of a pre-activation network ends with the norm
        and relu that its blocks leave open.
    """

    def __init__(self, settings: ResidualSettings, ndim: int, channels: int) -> None:
        layout, width, stem, strides = settings.definite(ndim)
        kind = BLOCKS[layout.block, settings.preactivation]
        planes = [width * settings.widen * 2**number for number in range(len(layout.blocks))]
        super().__init__(ndim, features=planes[-1] * kind.expansion)
        make = LayerFactory(OPERATORS[ndim], settings)
        self.checkpointing = settings.checkpointing
        steps = STEM_STEPS[stem]
        self.stem = Stem(stem, make, channels, width, strides[:steps], activate=not settings.preactivation)
        rates = iter(_drop_rates(settings.stochastic_depth, sum(layout.blocks)))
        self.stages = nn.ModuleList()
        inputs = width
        for outputs, stride, count in zip(planes, (make.unit, *strides[steps:]), layout.blocks, strict=True):
            stage: list[nn.Module] = []
            for index in range(count):
                stage.append(kind(make, inputs, outputs, make.unit if index else stride, next(rates)))
                inputs = outputs * kind.expansion
            if settings.preactivation and outputs == planes[-1]:
                stage.append(Activation(make, self.features))
            self.stages.append(nn.Sequential(*stage))
        self._initialise(settings)

    def _initialise(self, settings: ResidualSettings) -> None:
        """Variance-keeping normal weights (He et al. 2015); norms as torch makes them, scale 1 and offset 0.

        A plain network keeps its last layers: set to zero they would start it as a constant.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Block) and settings.zero_init and settings.residual:
                module.start_as_shortcut()

    def named_stages(self) -> dict[str, nn.Module]:
        """See :meth:`Backbone.named_stages`."""
        return {"stem": self.stem} | {f"stage{number}": stage for number, stage in enumerate(self.stages, start=1)}

    def forward_features(self, x: Tensor) -> Tensor:
        """See :meth:`Backbone.forward_features`."""
        for stage in self.named_stages().values():
            x = self._run(stage, x)
        return x

    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """See :meth:`Backbone.forward_stages`."""
        maps: dict[str, Tensor] = {}
        for name, stage in self.named_stages().items():
            x = self._run(stage, x)
            maps[name] = x
        return maps

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        """Run one stage, block by block where their activations are to be forgotten."""
        if not (self.checkpointing and self.training and isinstance(stage, nn.Sequential)):
            out: Tensor = stage(x)
            return out
        for block in stage:
            x = checkpointed(block, x)
        return x


def _drop_rates(last: float, blocks: int) -> list[float]:
    """Rise linearly from the stem, which is never dropped, to the last block."""
    return [last * number / blocks for number in range(1, blocks + 1)]
