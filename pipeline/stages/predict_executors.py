"""Where cases are predicted: on this machine, or on a cluster. Whatever does it, this process alone writes."""

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from pydantic import Field

from pipeline.config import Settings
from pipeline.package.package import ModelPackage
from pipeline.stages.predict_answer import CaseResult, Job
from pipeline.stages.predict_local import LocalExecutor
from pipeline.stages.predict_requests import Request


class ExecutorSettings(Settings):
    """Settings of where cases are predicted."""

    executor: Literal["local"] = Field(default="local", description="local: processes of this machine.")


class Executor(Protocol):
    """Predicts cases; the model is loaded once."""

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """Predict cases, in any order, each once.

        Parameters
        ----------
        requests : iterable of Request
            Taken as there is room for them, never all at once: whoever gives them may share them with others.
        """


def make_executor(settings: ExecutorSettings, job: Job, package: ModelPackage) -> Executor:
    """Make the executor that is asked for; it builds the engine when the first case comes."""
    return LocalExecutor(job, package)
