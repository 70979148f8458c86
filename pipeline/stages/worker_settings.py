"""Settings of the worker processes, for every stage that reads scans."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pipeline.config import Settings
from pipeline.machine import cores
from pipeline.workers import SECONDS_PER_CASE


class WorkerSettings(Settings):
    """Settings of a stage that reads scans in worker processes."""

    processes: NonNegativeInt | None = Field(
        default=None, description="Worker processes that read scans. Default: one for each processor; 0 uses none."
    )
    seconds_per_case: PositiveFloat = Field(
        default=SECONDS_PER_CASE, description="A case that takes longer to read is refused with TIMEOUT."
    )
    memory_bytes: PositiveInt | None = Field(
        default=None,
        description="Memory that one worker may take; beyond it the case is TOO_LARGE. "
        "Default: an equal share of 80% of the memory.",
    )

    @property
    def worker_count(self) -> int:
        """Number of worker processes, the machine's processors where none is given."""
        return cores() if self.processes is None else self.processes
