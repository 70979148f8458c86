"""Every shipped training configuration is valid, and trains a small cohort to the end."""

from pathlib import Path

import pytest
from phantoms.spheres import make_manifest, read

from pipeline.domain.manifest import Manifest
from pipeline.package.package import load_package
from pipeline.stages.train import Config, train

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "train").glob("*.yaml"))


def measured(manifest: Manifest, config: Config) -> Manifest:
    """The cohort with numbers for what the configuration learns beside the findings."""
    names = config.training.auxiliary.covariates
    cases = (
        case.model_copy(update={"covariates": {name: str(number) for name in names}})
        for number, case in enumerate(manifest.cases)
    )
    return manifest.model_copy(update={"cases": tuple(cases)})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_trains(path: Path, tmp_path: Path) -> None:
    ndim = 2 if "2d" in path.stem else 3
    tiny = ["training.epochs=1", "training.warmup_epochs=0", "plan.batch_size=8", "network.backbone.width=8"]
    tiny += ["processes=0", "tracking.enabled=false", "tracking.system_seconds=0", f"plan.size={[12] * ndim}"]
    overrides = [f"manifest={tmp_path / 'm.csv'}", f"out={tmp_path / 'run'}", *tiny]
    config = Config.load(path, overrides)
    if config.folds > 2:
        config = Config.load(path, [*overrides, "folds=2"])
    outcome = train(config, measured(make_manifest(train=16, validation=12, ndim=ndim), config), read)
    assert outcome.exit_code == 0
    package = load_package(tmp_path / "run" / "package")
    assert package.plan.ndim == ndim
    assert package.card.name == config.name != ""
