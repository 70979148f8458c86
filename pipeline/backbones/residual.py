"""The residual network in 2D and 3D: a stem and stages of blocks, each stage halving the map and doubling its width."""

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.backbones.backbone import Backbone
from pipeline.backbones.blocks import BasicBlock, Block, BlockSettings, BottleneckBlock
from pipeline.backbones.stems import Stem


class ResidualNetwork(Backbone):
    """Stem and stages.

    Parameters
    ----------
    ndim : int
        Spatial axes.
    stem : Stem
    shared : BlockSettings
    bottleneck : bool
        Kind of block.
    blocks : sequence of int
        Number of blocks of each stage.
    width : int
        Planes of the first stage.
    stochastic_depth : float
        Drop probability of the last block; it rises linearly from 0 at the stem.
    zero_init : bool
        Let each residual block start as its shortcut. Without shortcuts that would start the network as a constant,
        so the plain twin leaves it out.

    Attributes
    ----------
    stages : nn.ModuleList
        One ``nn.Sequential`` of blocks a stage.
    """

    def __init__(
        self,
        ndim: int,
        stem: Stem,
        shared: BlockSettings,
        *,
        bottleneck: bool,
        blocks: Sequence[int],
        width: int,
        stochastic_depth: float,
        zero_init: bool,
    ) -> None:
        kind: type[Block] = BottleneckBlock if bottleneck else BasicBlock
        super().__init__(ndim, features=width * 2 ** (len(blocks) - 1) * kind.expansion)
        self.stem = stem
        self.stages = nn.ModuleList()
        channels, made, total = width, 0, sum(blocks)
        for number, count in enumerate(blocks):
            planes = width * 2**number
            stage: list[Block] = []
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                made += 1
                stage.append(kind(shared, channels, planes, stride, stochastic_depth * made / total))
                channels = planes * kind.expansion
            self.stages.append(nn.Sequential(*stage))
        self._initialise(zero_init and shared.residual)

    def _initialise(self, zero_init: bool) -> None:
        """Variance-keeping normal weights (He et al. 2015); norms as torch makes them, scale 1 and offset 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init and isinstance(module, Block):
                scale = module.last_norm.weight
                assert isinstance(scale, nn.Parameter)
                nn.init.zeros_(scale)

    def forward_features(self, x: Tensor) -> Tensor:
        """See :meth:`Backbone.forward_features`."""
        maps: Tensor = self.stem(x)
        for stage in self.stages:
            maps = stage(maps)
        return maps
