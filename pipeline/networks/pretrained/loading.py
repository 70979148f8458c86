"""Weights of a file into a classifier, or a refusal that says why they do not fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import PretrainedError
from pipeline.networks.classifier import Classifier
from pipeline.networks.pretrained.architecture import causes, describe
from pipeline.networks.pretrained.files import WeightsFile, read_weights
from pipeline.networks.pretrained.fitting import BIAS_FOLDED, Fitted, Fitter, fold_biases, mean_behind
from pipeline.networks.pretrained.heads import Heads, match_heads
from pipeline.networks.pretrained.layouts import COUNTER, recognise
from pipeline.networks.pretrained.notes import notes
from pipeline.networks.pretrained.report import OtherShape, PretrainedReport
from pipeline.networks.pretrained.settings import PretrainedSettings
from pipeline.networks.pretrained.target import RESIDUAL, Target


def load_pretrained(
    classifier: Classifier,
    settings: PretrainedSettings,
    *,
    digest: str = "",
    backbone: Mapping[str, Any] | None = None,
) -> PretrainedReport:
    """Put the weights of `settings.file` into a classifier, in place.

    Parameters
    ----------
    classifier : Classifier
        With random weights, which stay where the file has none or none are wanted. On the ``meta`` device nothing is
        put in: the names and shapes are checked.
    digest : str
        sha256 that the file must have; empty takes any.
    backbone : mapping or None
        Settings of the classifier's backbone, to be compared with those of a model package.

    Raises
    ------
    PretrainedError
        The file cannot be read, is another one, holds no network that is known, or one that fits too poorly.
    """
    assert settings.file is not None
    file = read_weights(settings.file)
    if digest and file.digest != digest:
        raise PretrainedError(
            f"{settings.file} has changed since this run began: its sha256 was {digest}, is {file.digest}.",
            "Restore the file, or begin again in another folder.",
        )
    match = match_weights(classifier, file, settings, backbone)
    report = match.report
    if min(report.filled, report.used) < settings.least_matched:
        raise PretrainedError(report.refusal(settings.least_matched), _remedy(report))
    if not next(classifier.parameters()).is_meta:
        _check_values(settings.file, match.state)
        classifier.load_state_dict(match.state, strict=False)
    return report


@dataclass(frozen=True, eq=False)
class Match:
    """Tensors under the names of the classifier, and what became of all."""

    state: Mapping[str, Tensor]
    report: PretrainedReport


def match_weights(
    classifier: Classifier,
    file: WeightsFile,
    settings: PretrainedSettings,
    backbone: Mapping[str, Any] | None = None,
) -> Match:
    """Match a file with a classifier, whether or not it fits well.

    Raises
    ------
    PretrainedError
        The file holds no network that is known, a setting names a stage that is not there, or heads are asked for that
        the file does not have.
    """
    target = Target.of(classifier)
    found = recognise(file, settings.prefix)
    reverse = settings.axes == "kji" or (settings.axes == "auto" and found.layout in ("torchvision", "medicalnet"))
    fresh = target.names_of(settings.fresh)
    beyond = target.beyond if not any(name in found.trunk for name in target.beyond) else frozenset()
    wanted = {name: tensor for name, tensor in target.state.items() if name not in fresh and name not in beyond}
    stages = target.prefixes(settings.fresh)
    offered = {
        name: tensor
        for name, tensor in found.trunk.items()
        if not name.startswith(stages) and (name in target.state or name.startswith(RESIDUAL))
    }
    trunk = _match_trunk(wanted, offered, Fitter(target.ndim, reverse, settings.two_d))
    heads = match_heads(classifier, file, found) if settings.heads == "same_findings" else Heads({}, ())
    why = () if trunk.fits else tuple(causes(describe(found.trunk), describe(target.state)))
    left_out = sorted({*found.trunk} - {*offered}) + (list(found.heads) if not heads.state else []) + [*found.others]
    report = PretrainedReport(
        file=file.name,
        digest=file.digest,
        layout=found.layout,
        axes="kji"[3 - found.ndim :] if reverse else "ijk"[: found.ndim],
        taken=trunk.unchanged,
        adapted={name: fitted.change for name, fitted in trunk.fitted.items() if fitted.change},
        missing=trunk.missing,
        unexpected=(*trunk.unexpected, *found.unknown),
        other_shape=trunk.other_shape,
        fresh=tuple(sorted(name for name in fresh | beyond if not name.endswith(COUNTER))),
        left_out=tuple(left_out),
        heads=heads.findings,
        causes=tuple(cause for cause, _ in why),
        remedies=tuple(remedy for _, remedy in why),
        notes=tuple(notes(found, file, backbone)),
    )
    state = {target.full[name]: fitted.tensor for name, fitted in (trunk.fitted | trunk.counters).items()}
    return Match(state | dict(heads.state), report)


@dataclass(frozen=True, eq=False)
class _Trunk:
    """Outcome for the residual part."""

    fitted: dict[str, Fitted]
    counters: dict[str, Fitted]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[OtherShape, ...]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.other_shape)

    @property
    def unchanged(self) -> tuple[str, ...]:
        return tuple(name for name, fitted in self.fitted.items() if not fitted.change)


def _match_trunk(ours: Mapping[str, Tensor], file: Mapping[str, Tensor], fitter: Fitter) -> _Trunk:
    counters = {name: Fitted(file[name], "") for name in file if name.endswith(COUNTER) and name in ours}
    wanted = {name: tensor for name, tensor in ours.items() if not name.endswith(COUNTER)}
    offered = {name: tensor for name, tensor in file.items() if not name.endswith(COUNTER)}
    means = fold_biases(offered, wanted)
    fitted: dict[str, Fitted] = {}
    other_shape = []
    for name in wanted.keys() & offered.keys():
        found = fitter.fit(name, offered[name], wanted[name].shape)
        if found is None:
            shapes = tuple(offered[name].shape), tuple(wanted[name].shape)
            other_shape.append(OtherShape(name=name, file=shapes[0], ours=shapes[1]))
        else:
            fitted[name] = found
    for bias, mean in means.items():
        if mean_behind(bias) in fitted:
            fitted[mean_behind(bias)] = Fitted(mean, BIAS_FOLDED)
    order = {name: number for number, name in enumerate(wanted)}
    return _Trunk(
        fitted={name: fitted[name] for name in wanted if name in fitted},
        counters=counters,
        missing=tuple(name for name in wanted if name not in offered),
        unexpected=tuple(name for name in offered if name not in wanted and name not in means),
        other_shape=tuple(sorted(other_shape, key=lambda entry: order[entry.name])),
    )


def _check_values(path: Path, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if name.endswith(COUNTER):
            continue
        if not tensor.is_floating_point() or tensor.layout is not torch.strided:
            message = f"{path}: the tensor for {name} is of {tensor.dtype}, {tensor.layout}, not of plain real numbers."
            raise PretrainedError(message, "Save the weights dequantised, dense and in float32 or half precision.")
        if not bool(torch.isfinite(tensor).all()):
            raise PretrainedError(
                f"{path}: the tensor for {name} holds a value that is not finite.", "Use other weights."
            )


def _remedy(report: PretrainedReport) -> str:
    chosen = "; ".join(report.remedies) or "use weights of the same network"
    return f"{chosen[0].upper()}{chosen[1:]}. A lower pretrained.least_matched accepts a part."
