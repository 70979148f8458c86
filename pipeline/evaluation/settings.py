"""Settings of an evaluation."""

from pydantic import Field

from pipeline.config import Settings


class EvaluationSettings(Settings):
    """How scores and their intervals are computed."""

    resamples: int = Field(default=2000, ge=100, le=65535, description="Bootstrap resamples of patients.")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the confidence intervals.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples; equal seeds give equal bits.")
    prevalence: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Prevalence where the model will be used: PPV and NPV are also given at it.",
    )
    bins: int = Field(default=10, ge=2, le=100, description="Bins of equal width of the reliability curve.")
    subgroups: tuple[str, ...] = Field(
        default=("site", "vendor", "sex", "age"),
        description="Covariates whose values are scored apart (age in bands), as far as the manifest has them.",
    )
