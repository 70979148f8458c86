"""The lines of a journal."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.domain.frozen import Frozen


class Record(Frozen):
    """What every line carries.

    Attributes
    ----------
    seq : int
        Counts from 1 without a gap.
    time_ms : int
        Milliseconds since 1970, UTC. A metric keeps it wherever and whenever it is replayed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    seq: int
    time_ms: int


class Opened(Record):
    """First line: names the journal, so that a replay finds the run it may have begun before."""

    kind: Literal["opened"] = "opened"
    journal: str


class Resumed(Record):
    """The run goes on after a stop."""

    kind: Literal["resumed"] = "resumed"


class Params(Record):
    """Settings."""

    kind: Literal["params"] = "params"
    values: dict[str, str]


class Tags(Record):
    """Tags."""

    kind: Literal["tags"] = "tags"
    values: dict[str, str]


class Metrics(Record):
    """Measured values at a step."""

    kind: Literal["metrics"] = "metrics"
    values: dict[str, float]
    step: int


class Artifact(Record):
    """A file or folder.

    Attributes
    ----------
    path : str
        Below the run folder, or absolute where it lies elsewhere.
    files : dict of str to str
        Path below `path` (``""`` for a single file) to sha256.
    """

    kind: Literal["artifact"] = "artifact"
    path: str
    folder: str = ""
    files: dict[str, str]


class Model(Record):
    """A model package to log and to register.

    Attributes
    ----------
    digest : str
        The package's own digest; a version is registered once for it.
    name : str
        Registered model; empty logs the package without registering it.
    """

    kind: Literal["model"] = "model"
    path: str
    digest: str
    name: str = ""
    alias: str = ""


class Dataset(Record):
    """Cases that the run used.

    Attributes
    ----------
    name : str
        Of the cohort, with the split.
    digest : str
        Of the manifest.
    context : str
        What they were used for: training, validation or test.
    columns : tuple of str
        What is known of a case; never who it is.
    profile : str
        Counts, as JSON.
    """

    kind: Literal["dataset"] = "dataset"
    name: str
    digest: str
    context: str
    columns: tuple[str, ...]
    profile: str


class Ended(Record):
    """The run is over."""

    kind: Literal["ended"] = "ended"
    status: Literal["FINISHED", "FAILED", "KILLED"]


AnyRecord = Annotated[
    Opened | Resumed | Params | Tags | Metrics | Artifact | Model | Dataset | Ended, Field(discriminator="kind")
]
LINE: TypeAdapter[AnyRecord] = TypeAdapter(AnyRecord)
