"""Whether, how and for which answers heatmaps are made."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config import KindOf, Settings
from pipeline.explanations.method import MethodSettings


class ExplainSettings(Settings):
    """Heatmaps of predictions; none by default."""

    method: Annotated[MethodSettings, KindOf("pipeline.explanations")] | None = Field(
        default=None,
        description="{kind: hires_cam} (sharp) or {kind: grad_cam} (coarse, widely known): where in the scan the "
        "network sees a finding. It takes a second run of the network with gradients, in PyTorch whatever the engine. "
        "Empty: no heatmaps.",
    )
    answers: Literal["positive", "all"] = Field(
        default="positive",
        description="positive: binary findings decided positive, labels that are set, grades above the first, and the "
        "decided class of every multiclass finding, which has no negative one. all: also the positive class of binary "
        "findings decided negative, and the first grade.",
    )
