"""What a package answers to a volume, by the steps that `predict` and `evaluate` take."""

from pipeline.domain.prediction import FindingPrediction
from pipeline.domain.volume import Volume
from pipeline.engines.engine import Engine
from pipeline.engines.inference import interpret_one, run_prepared
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.transforms import prepare


def answer_of(volume: Volume, package: ModelPackage, engine: Engine) -> tuple[FindingPrediction, ...]:
    return interpret_one(run_prepared(prepare(volume, package.plan), engine), package)
