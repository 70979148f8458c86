"""Settings of looking for scans and of the worker processes that read them, for every stage that does."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.config import Settings
from pipeline.machine import cores
from pipeline.readers.index import FolderIndex
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
        "Default: an equal share of 80% of the memory, and 1 GiB at least.",
    )

    @property
    def worker_count(self) -> int:
        """Number of worker processes, the machine's processors where none is given."""
        return cores() if self.processes is None else self.processes


class DiscoverySettings(WorkerSettings):
    """Settings of a stage that looks for the scans in a folder."""

    index: bool = Field(
        default=True,
        description="Remember, beside the key of the pseudonyms, what the headers of a folder say, so that they are "
        "not read again until a file in it changes. Scans that are used are read and verified all the same.",
    )

    def folder_index(self, pseudonyms: Pseudonyms) -> FolderIndex | None:
        """Return the index beside the key, or None where none is wanted."""
        return FolderIndex(pseudonyms.index_file) if self.index else None
