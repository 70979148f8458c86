"""What a model says of one case: the same code wherever it runs, in this process or on another machine."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.prediction import Prediction
from pipeline.engines.engine import Engine
from pipeline.engines.inference import interpret_one, run_prepared
from pipeline.engines.settings import EngineSettings
from pipeline.errors import RejectedInput
from pipeline.explanations.answers import explain
from pipeline.explanations.explainer import Explainer
from pipeline.explanations.settings import ExplainSettings
from pipeline.ledger import CaseOutcome
from pipeline.networks.shortage import free_memory, is_out_of_memory
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.scans import PreparedScan
from pipeline.readers.options import ReadOptions
from pipeline.scope.gate import Gate
from pipeline.scope.judging import judge, released
from pipeline.scope.settings import ScopeSettings
from pipeline.stages.predict_requests import Request, refusal_of_case
from pipeline.workers import Outcome, attempt, outcome_of

log = logging.getLogger("resdx")

Heatmaps = Mapping[str, NDArray[np.float32]]

NO_HEATMAPS, CHECKED = ExplainSettings(), ScopeSettings()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker process may take; see :func:`pipeline.workers.imap`."""

    processes: int
    seconds: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """All that it takes to predict a case anywhere: this is what crosses to other processes and machines.

    Attributes
    ----------
    package : Path
        The model.
    engine : EngineSettings
        What runs it; a choice that is made, never ``auto``.
    options : ReadOptions
        How scans are read.
    explain : ExplainSettings
        Which heatmaps are made.
    scope : ScopeSettings
        What becomes of a scan that is unlike the training data.
    """

    package: Path
    engine: EngineSettings
    options: ReadOptions
    limits: Limits
    explain: ExplainSettings = NO_HEATMAPS
    scope: ScopeSettings = CHECKED


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one request.

    Attributes
    ----------
    seconds : float
        How long reading, preparing and computing took, waiting not counted.
    scan : PreparedScan or None
        What the network saw; None where the scan is refused.
    heatmaps : mapping of str to ndarray of float32, shape (*plan.size)
        Finding to heatmap on the prepared grid, of findings that are explained.
    lacks_heatmaps : bool
        Memory did not hold what the heatmaps take.
    """

    request: Request
    outcome: CaseOutcome
    seconds: float
    scan: PreparedScan | None = None
    heatmaps: Heatmaps = field(default_factory=dict)
    lacks_heatmaps: bool = False

    @property
    def is_short_of_memory(self) -> bool:
        """Whether the case may fare better alone."""
        refusal = self.outcome.refusal
        return self.lacks_heatmaps or (refusal is not None and refusal.code is Code.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that is loaded and made ready to run."""

    package: ModelPackage
    engine: Engine
    explain: ExplainSettings = NO_HEATMAPS
    explainer: Explainer | None = None
    scope: ScopeSettings = CHECKED
    gate: Gate | None = None

    @classmethod
    def of(cls, package: ModelPackage, job: Job) -> "Predictor":
        """Build the engine of a job.

        Raises
        ------
        ConfigError
            It cannot run here.
        """
        method = job.explain.method
        explainer = None if method is None else method.build(package)
        gate = Gate(package.scope) if job.scope.check and package.scope is not None else None
        return cls(package, job.engine.build(package), job.explain, explainer, job.scope, gate)

    def __call__(self, request: Request, read: Outcome[PreparedScan]) -> CaseResult:
        """Predict one prepared case, or keep why it is refused; an error that nobody foresaw costs this case alone.

        The network runs one image at a time, so that no outcome depends on which cases came before or beside it.
        """
        began = time.perf_counter()
        taken = read.value.seconds if read.value is not None else 0.0
        predict = partial(self._predict, request)
        said = outcome_of(read.index, *attempt(predict, read, debug=log.isEnabledFor(logging.DEBUG)))
        taken += time.perf_counter() - began
        if said.error is not None:
            return CaseResult(request, CaseOutcome(refusal=refusal_of_case(request, said.error)), taken)
        assert said.value is not None and read.value is not None
        prediction, heatmaps, is_short = self._explained(said.value, read.value)
        return CaseResult(request, CaseOutcome(prediction=prediction), taken, read.value, heatmaps, is_short)

    def _explained(self, prediction: Prediction, scan: PreparedScan) -> tuple[Prediction, Heatmaps, bool]:
        """Make the heatmaps; where they cannot be made, the prediction stands all the same and says so.

        The last value says whether memory was what they lacked.
        """
        if self.explainer is None or not prediction.findings:
            return prediction, {}, False
        said = outcome_of(0, *attempt(partial(self._explain, prediction), scan, debug=log.isEnabledFor(logging.DEBUG)))
        if said.error is None:
            assert said.value is not None
            return prediction, said.value, False
        notes = (*prediction.notes, f"no heatmap: {said.error.message}")
        return prediction.model_copy(update={"notes": notes}), {}, said.error.code == Code.TOO_LARGE

    def _explain(self, prediction: Prediction, scan: PreparedScan) -> Heatmaps:
        assert self.explainer is not None
        try:
            return explain(self.explainer, scan.image, self.package.findings, prediction.findings, self.explain.answers)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory()
            raise RejectedInput(Code.TOO_LARGE, "memory did not hold it", stage="explain") from error

    def _predict(self, request: Request, read: Outcome[PreparedScan]) -> Prediction:
        if read.error is not None:
            raise read.error
        assert read.value is not None
        scan = read.value
        try:
            answer = run_prepared(scan.image, self.engine)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory()
            message = "memory did not hold what the network makes of this scan"
            raise RejectedInput(Code.TOO_LARGE, message, stage="predict") from error
        verdict, reasons = judge(self.gate, scan.facts, scan.look, answer.features[0])
        return Prediction(
            case=request.case,
            patient=request.patient,
            study=request.study,
            series=request.name,
            digest=request.digest,
            model=self.package.digest,
            findings=released(interpret_one(answer, self.package), verdict, self.scope),
            scope=verdict,
            scope_reasons=reasons,
            notes=scan.notes,
        )
