"""The model package: one folder, safetensors and JSON, each file vouched for by a digest. Never pickle.

A package of several networks is an ensemble: they share one plan, one architecture, one calibration and one set of
operating points, and the mean of their logits is what the package says (:mod:`pipeline.engines.members`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline import atomic
from pipeline.domain.finding import Finding
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.frozen import Frozen
from pipeline.domain.plan import Plan
from pipeline.domain.scope import ScopeReference
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.errors import PackageError
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package import content as files
from pipeline.package.card import ModelCard
from pipeline.package.content import Content, Digests
from pipeline.preprocessing.transforms import PREPARATION_VERSION


@dataclass(frozen=True)
class ModelPackage:
    """A verified package on disk.

    Attributes
    ----------
    folder : Path
    digests : Digests
        As verified when it was loaded.
    """

    folder: Path
    content: Content
    card: ModelCard
    digests: Digests

    @property
    def digest(self) -> str:
        """Name of the model: sha256 over the weights and everything else that changes a prediction."""
        return self.digests.model

    @property
    def network(self) -> NetworkSettings:
        """How the network was built."""
        return self.content.network

    @property
    def plan(self) -> Plan:
        """How a scan becomes its input."""
        return self.content.plan

    @property
    def fingerprint(self) -> Fingerprint:
        """What was measured on the training split."""
        return self.content.fingerprint

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it reports."""
        return self.content.findings

    @property
    def calibration(self) -> tuple[Calibration, ...]:
        """Temperatures, at most one a finding."""
        return self.content.calibration

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """Frozen thresholds, at most one a finding."""
        return self.content.operating_points

    @property
    def manifest_digest(self) -> str:
        """Digest of the manifest it was trained on."""
        return self.content.manifest_digest

    @property
    def cohort(self) -> str:
        """Digest of the manifest that its cases came from; a member of folds has splits, and a manifest, of its own."""
        return self.content.fingerprint.manifest

    @property
    def learned_validation(self) -> bool:
        """Whether it learned from validation cases of its cohort: a member of folds, or the ensemble of all."""
        return self.cohort != self.manifest_digest or any(member.fold for member in self.card.members)

    @property
    def tta_flips(self) -> tuple[int, ...]:
        """Spatial axes over whose flips logits are averaged."""
        return self.content.tta_flips

    @property
    def scope(self) -> ScopeReference | None:
        """What scans are compared with, if anything."""
        return self.content.scope

    @cached_property
    def outputs(self) -> int:
        """Number of logits."""
        return sum(finding.outputs for finding in self.findings)

    @property
    def members(self) -> int:
        """Number of networks that answer together."""
        return self.digests.members

    def build_classifier(self) -> Classifier:
        """Build the network of a package that has one; see :meth:`build_classifiers`."""
        (classifier,) = self.build_classifiers()
        return classifier

    def build_classifiers(self) -> tuple[Classifier, ...]:
        """Build every member with its weights, in evaluation mode, on the CPU.

        The bytes that are hashed are the bytes that are loaded.

        Raises
        ------
        PackageError
            If weights were changed since the package was loaded, or do not fit the network.
        """
        return tuple(self._build(self.folder / name) for name in files.weight_files(self.members))

    def _build(self, path: Path) -> Classifier:
        data = path.read_bytes()
        files.check_sha256(path, hashlib.sha256(data).hexdigest(), self.digests)
        classifier = build_classifier(self.network, self.findings, self.plan.ndim, self.plan.channels)
        try:
            classifier.load_state_dict(safetensors.torch.load(data))
        except (SafetensorError, RuntimeError) as error:
            message = f"refused: {path} does not fit the network that {files.CONTENT} describes: {error}"
            raise PackageError(message, files.COPY_AGAIN) from error
        return classifier.eval()


def save_package(
    folder: Path,
    *,
    classifier_state: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    network: NetworkSettings,
    plan: Plan,
    fingerprint: Fingerprint,
    findings: Sequence[Finding],
    calibration: Sequence[Calibration],
    operating_points: Sequence[OperatingPoint],
    manifest_digest: str,
    card: ModelCard,
    tta_flips: Sequence[int] = (),
    scope: ScopeReference | None = None,
) -> ModelPackage:
    """Write a package in one step (a crash leaves the old folder or the new one) and load it again.

    Parameters
    ----------
    classifier_state : mapping, or sequence of mappings
        Weights of the network; of an ensemble those of each member.

    Raises
    ------
    PackageError
        If a weight is not finite, or the weights do not fit the network.
    """
    content = Content(
        network=network,
        plan=plan,
        fingerprint=fingerprint,
        findings=tuple(findings),
        calibration=tuple(calibration),
        operating_points=tuple(operating_points),
        manifest_digest=manifest_digest,
        preparation_version=PREPARATION_VERSION,
        tta_flips=tuple(sorted(set(tta_flips))),
        scope=scope,
    )
    states = [classifier_state] if isinstance(classifier_state, Mapping) else list(classifier_state)
    assert states, "a package needs a network"
    names = files.weight_files(len(states))

    def fill(target: Path) -> None:
        for name, state in zip(names, states, strict=True):
            (target / name).write_bytes(safetensors.torch.save(_portable(state)))
        _write_json(target / files.CONTENT, content)
        _write_json(target / files.CARD, card)
        (target / files.CARD_TEXT).write_text(card.markdown(), encoding="utf-8")
        _write_json(target / files.DIGESTS, files.seal(target, content, len(states)))
        load_package(target).build_classifiers()

    atomic.replace_folder(folder, fill)
    return load_package(folder)


def load_package(folder: Path) -> ModelPackage:
    """Load a package after every digest has been verified.

    Raises
    ------
    PackageError
        Naming the file that is missing, foreign, changed or of another schema version.
    """
    digests = files.verify(folder)
    content = files.read_content(folder)
    if files.model_digest(digests.weights, content) != digests.model:
        raise PackageError(f"refused: digest of the model in {folder / files.DIGESTS} was changed.", files.COPY_AGAIN)
    card = files.read_json(folder / files.CARD, ModelCard)
    return ModelPackage(folder=folder, content=content, card=card, digests=digests)


def _portable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy to the CPU, contiguous and sharing no memory, and check that every weight is finite."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            message = f"weight {name} holds a value that is not finite; no package was written."
            raise PackageError(message, "Train again with precision 32 or a lower learning rate.")
    return tensors


def _write_json(path: Path, noun: Frozen) -> None:
    path.write_text(noun.model_dump_json(indent=2) + "\n", encoding="utf-8")
