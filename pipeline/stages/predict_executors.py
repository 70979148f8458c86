"""Where cases are predicted: on this machine, or on a cluster. Whatever does it, this process alone writes."""

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from pydantic import Field, PositiveInt

from pipeline.config import Settings
from pipeline.errors import UsageError
from pipeline.package.package import ModelPackage
from pipeline.stages.predict_answer import CaseResult, Job
from pipeline.stages.predict_local import LocalExecutor
from pipeline.stages.predict_requests import Request


class RaySettings(Settings):
    """Settings of a cluster."""

    address: str = Field(
        default="",
        description="Address of a cluster that runs (HOST:6379, ray://HOST:10001, auto); empty starts Ray on this "
        "machine. All machines need resdx[ray], and the scans under the same path.",
    )
    runners: PositiveInt = Field(default=1, description="Processes that hold the model.")
    processors: PositiveInt = Field(default=1, description="Processors of each of them: threads of the network.")


class ExecutorSettings(Settings):
    """Settings of where cases are predicted."""

    executor: Literal["local", "ray"] = Field(
        default="local", description="local: processes of this machine; ray: Ray Data, here or on a cluster."
    )
    ray: RaySettings = Field(default=RaySettings(), description="The cluster, for executor=ray.")


class Executor(Protocol):
    """Predicts cases; the model stays loaded from case to case."""

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """Predict cases, in any order, each once.

        Parameters
        ----------
        requests : iterable of Request
            Taken as there is room for them, never all at once: whoever gives them may share them with others.
        """


def make_executor(settings: ExecutorSettings, job: Job, package: ModelPackage) -> Executor:
    """Make the executor that is asked for; it builds the engine when the first case comes.

    Raises
    ------
    UsageError
        Ray is asked for and not installed.
    """
    if settings.executor == "local":
        return LocalExecutor(job, package)
    try:
        from pipeline.stages.predict_ray import RayExecutor
    except ModuleNotFoundError as error:
        raise UsageError("executor=ray needs Ray.", 'Run `pip install "resdx[ray]"`.') from error
    given = settings.ray
    return RayExecutor(
        job,
        package,
        address=given.address,
        runners=given.runners,
        readers=max(1, job.limits.processes),
        processors=given.processors,
    )
