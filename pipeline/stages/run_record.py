"""What a training, of one network or of several members, begins its record with: settings, plan, cases."""

from pathlib import Path

from pipeline import atomic
from pipeline.config import to_yaml
from pipeline.data import resampling
from pipeline.domain.case import Split
from pipeline.domain.frozen import digest
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.networks.settings import NetworkSettings
from pipeline.stages.train_settings import Config
from pipeline.stages.training_review import record_datasets
from pipeline.tracking.journal import FileJournal
from pipeline.training.run_folder import CONFIG, worded

DECIDED = ("fingerprint.json", "plan.json")
"""What was measured and decided, in a run folder."""


def record(
    config: Config, manifest: Manifest, plan: Plan, network: NetworkSettings, rejected: int, journal: FileJournal
) -> None:
    """Write to the journal what a run is made of; paths by their names only.

    Parameters
    ----------
    network : NetworkSettings
        As the plan has resolved it.
    rejected : int
        Cases that could not be read.
    """
    shown = names_only(config).model_copy(update={"network": network})
    journal.params(worded(shown.model_dump(mode="json", exclude={"tracking"})))
    journal.params({f"planned.{decision.name}": decision.value for decision in plan.decisions})
    counts = {f"cases.{split.value}": len(manifest.of(split)) for split in Split}
    journal.params(counts | {"cases.rejected": rejected})
    journal.params(resampling.facts(config.data.augmentation))
    journal.tags({"resdx.manifest": manifest.digest, "resdx.plan": digest(plan)})
    record_datasets(manifest, config.manifest.stem, journal)
    atomic.write_text(config.out / "tracking" / CONFIG, to_yaml(shown))
    for path in (config.out / "tracking" / CONFIG, *(config.out / name for name in DECIDED)):
        journal.artifact(path, "experiment")


def names_only(config: Config) -> Config:
    """Reduce the paths of settings to names: what may be shown elsewhere."""
    weights = config.pretrained.file
    pretrained = config.pretrained.model_copy(update={"file": Path(weights.name) if weights else None})
    cache = Path(config.cache.name) if config.cache else None
    names = {"manifest": Path(config.manifest.name), "out": Path(config.out.name)}
    changes = {"cache": cache, "pretrained": pretrained, "tracking": config.tracking.shown()}
    return config.model_copy(update=names | changes)
