"""How much of a network trains, in words."""

from pipeline.domain.frozen import Frozen
from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.tuning import Tuning


class TrainableShare(Frozen):
    """Parameters that train, and all; adapters are counted among both."""

    trainable: int
    total: int

    @property
    def text(self) -> str:
        """One clause."""
        return f"{self.trainable:,} of {self.total:,} parameters train ({self.trainable / self.total:.2%})"


def count(classifier: Classifier, tuning: Tuning, epoch: int) -> TrainableShare:
    """Count what trains in an epoch, counted from 0."""
    sizes = {name: parameter.numel() for name, parameter in classifier.named_parameters()}
    training = sum(size for name, size in sizes.items() if tuning.trains(name, epoch))
    return TrainableShare(trainable=training, total=sum(sizes.values()))


def describe(classifier: Classifier, tuning: Tuning, left_out: tuple[str, ...]) -> tuple[str, ...]:
    """Say in sentences what is fine-tuned, and how; nothing where everything trains alike.

    Parameters
    ----------
    left_out : tuple of str
        Layers without an adapter, see :func:`pipeline.training.finetuning.adapters.adapt`.
    """
    settings = tuning.settings
    if not settings.active:
        return ()
    first, last = count(classifier, tuning, 0), count(classifier, tuning, tuning.epochs - 1)
    later = "" if last == first else f"; after the last thaw {last.trainable:,} ({last.trainable / last.total:.2%})"
    sentences = [f"Fine-tuned: {first.text}{later}."]
    stages = [_frozen(stage, tuning) for stage in tuning.frozen(0)]
    if stages:
        sentences.append(f"Frozen, with the statistics of their norms: {', '.join(stages)}.")
    if settings.layer_decay < 1:
        sentences.append(f"Learning rates fall by a factor of {settings.layer_decay:g} a stage from the heads down.")
    if settings.norms != "train":
        frozen = ", scale and offset too" if settings.norms == "frozen" else ""
        sentences.append(f"Statistics of batch norms stayed as they were loaded{frozen}.")
    if settings.lora.rank:
        where = ", ".join(tuning.adapted) or "no stage"
        sentences.append(f"Adapters (LoRA) of rank {settings.lora.rank} in {where}, merged into the weights.")
    if left_out:
        sentences.append(f"Without adapter, because grouped or dilated: {', '.join(left_out)}.")
    return tuple(sentences)


def _frozen(stage: str, tuning: Tuning) -> str:
    epochs = tuning.standstill(stage)
    return stage if epochs == tuning.epochs else f"{stage} (to the end of epoch {epochs})"
