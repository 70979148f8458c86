"""Settings of the scope gate for verbs that predict."""

from typing import Literal

from pydantic import Field

from pipeline.config import Settings


class ScopeSettings(Settings):
    """What happens to a scan that is unlike the training scans."""

    check: bool = Field(
        default=True,
        description="Compare every scan with the model's training scans: header, geometry, intensities, texture, "
        "orientation, and the features of the network. Off, or with a model that was packed without a reference: "
        "scope is not_checked.",
    )
    out_of_scope: Literal["withhold", "report"] = Field(
        default="withhold",
        description="withhold: a scan out of scope gets no probability and no decision, only the verdict and its "
        "reasons. report: they stand beside the verdict.",
    )
