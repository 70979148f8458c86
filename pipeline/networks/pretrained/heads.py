"""Heads of a model package, where they are for the same findings."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.errors import PretrainedError
from pipeline.networks.classifier import Classifier
from pipeline.networks.pretrained.files import WeightsFile
from pipeline.networks.pretrained.layouts import OWN_HEADS, Recognised


@dataclass(frozen=True, eq=False)
class Heads:
    """Heads that are taken: their tensors under the names of the classifier, and their findings."""

    state: Mapping[str, Tensor]
    findings: tuple[str, ...]


def match_heads(classifier: Classifier, file: WeightsFile, found: Recognised) -> Heads:
    """Match the heads of a model package, finding by finding.

    Raises
    ------
    PretrainedError
        The file does not tell its findings, or has no head of one of ours that fits.
    """
    if file.findings is None:
        raise PretrainedError(
            f"{file.name} does not tell which findings its heads are for.",
            "Set pretrained.heads: fresh, or name the folder of a model package.",
        )
    state = {}
    for number, finding in enumerate(classifier.findings):
        if finding not in file.findings:
            known = ", ".join(f"{entry.name} ({', '.join(entry.classes)})" for entry in file.findings)
            raise PretrainedError(
                f"{file.name} has no head for {finding.name} ({', '.join(finding.classes)}); it has {known}.",
                "Set pretrained.heads: fresh.",
            )
        theirs = f"{OWN_HEADS}{file.findings.index(finding)}."
        for name, tensor in classifier.heads[number].state_dict().items():
            given = found.heads.get(theirs + name)
            if given is None or given.shape != tensor.shape:
                shape = "missing" if given is None else list(given.shape)
                raise PretrainedError(
                    f"{file.name}: the head of {finding.name} does not fit: {name} is {shape}, expected "
                    f"{list(tensor.shape)}.",
                    "Set pretrained.heads: fresh, or give the network the depth and width of the package's.",
                )
            state[f"{OWN_HEADS}{number}.{name}"] = given
    return Heads(state, tuple(finding.name for finding in classifier.findings))
