"""A package whose answers are as decided as those of a trained one, and the cohort it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from phantoms.evaluations import cohort
from phantoms.packages import FINDINGS, make_package

from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.domain.volume import Volume
from pipeline.package.package import ModelPackage, save_package
from pipeline.preprocessing.transforms import prepare

CASES = tuple(
    case.model_copy(update={"split": Split.VALIDATION if number < 24 else Split.TEST})
    for number, case in enumerate(cohort(FINDINGS, count=30)[0])
)
MANIFEST = Manifest(findings=FINDINGS, cases=CASES)
SPREAD = 2.0
"""Standard deviation of every logit over the cases."""


def scan_of(case: Case, ndim: int = 3) -> Volume:
    """Noise, brighter and smoother from case to case, so that features differ."""
    number = int(case.case[1:])
    shape = (14, 12, 9 if ndim == 3 else 1)
    rng = np.random.default_rng(number)
    voxels = rng.normal(20 + 4 * number, 40 + 5 * (number % 7), size=(1, *shape)).astype(np.float32)
    voxels[:, 4:8, 3:9] += 60 * (number % 3)
    return Volume(voxels, Geometry.from_matrix(shape, np.diag([2.0, 2.0, 2.0, 1.0])), "CT")


@dataclass
class Scans:
    """Stands for the readers, which have tests of their own."""

    ndim: int = 3
    unreadable: frozenset[str] = frozenset()

    def read(self, case: Case) -> Volume:
        from pipeline.errors import RejectedInput

        if case.case in self.unreadable:
            raise RejectedInput("CHANGED", "the file is not the one that was ingested")
        return scan_of(case, self.ndim)


def decided_package(
    folder: Path, *, ndim: int = 3, members: int = 1, tta_flips: tuple[int, ...] = (0,), seed: int = 3
) -> ModelPackage:
    """Weights are random, but the heads are scaled so that logits of MANIFEST's cases spread by SPREAD.

    The operating point lies in the widest gap between two neighbouring probabilities, so that rounding flips nothing.
    """
    draft = make_package(folder.with_name(folder.name + "-draft"), ndim=ndim, members=members, tta_flips=tta_flips)
    images = np.stack([prepare(scan_of(case, ndim), draft.plan) for case in CASES[:24]])
    states = []
    for classifier in draft.build_classifiers():
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed + len(states))
            features = classifier.backbone(torch.tensor(images))
            for head in classifier.heads:
                weight = head.score.weight if hasattr(head, "score") else head.weight
                weight.copy_(torch.randn_like(weight))
                answers = features @ weight.T
                weight.mul_(SPREAD / answers.std(dim=0, keepdim=True).T)
                shift = -(features @ weight.T).mean(dim=0)
                (head.first_cut if hasattr(head, "score") else head.bias).copy_(
                    -shift.mean() if hasattr(head, "score") else shift
                )
        states.append(classifier.state_dict())
    return _saved(folder, draft, states, images)


def _saved(
    folder: Path, draft: ModelPackage, states: list[Mapping[str, torch.Tensor]], images: np.ndarray
) -> ModelPackage:
    from scipy.special import expit

    from pipeline.engines.torch import Config

    def save(threshold: float) -> ModelPackage:
        return save_package(
            folder,
            classifier_state=states if len(states) > 1 else states[0],
            network=draft.network,
            plan=draft.plan,
            fingerprint=draft.fingerprint.model_copy(update={"manifest": MANIFEST.digest}),
            findings=draft.findings,
            calibration=(Calibration(finding="lesion", temperature=1.5),),
            operating_points=(OperatingPoint(finding="lesion", threshold=threshold, rule="youden"),),
            manifest_digest=MANIFEST.digest,
            card=draft.card,
            tta_flips=draft.tta_flips,
        )

    logits = Config(device="cpu").build(save(0.5)).answer(images).logits
    chances = np.sort(expit(logits[:, 0] / 1.5))
    widest = int(np.argmax(np.diff(chances)))
    return save(float(chances[widest : widest + 2].mean()))


def export_of(package: ModelPackage, folder: Path, *, bfloat16: bool = True, **settings: object) -> Path:
    """What ``resdx export`` leaves, the readers replaced by :class:`Scans`; with `bfloat16` on any machine."""
    import pytest

    from pipeline.stages import export as stage
    from pipeline.stages import export_parity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "load_manifest", lambda path: MANIFEST)
        patch.setattr(stage, "load_files", lambda path: None)
        patch.setattr(stage, "CaseReader", lambda files, options: Scans(package.plan.ndim))
        patch.setattr(export_parity, "crawls_in_bfloat16", lambda: not bfloat16)
        patch.setattr(export_parity, "has_bfloat16", lambda: bfloat16)
        fields = {"model": str(package.folder), "manifest": "cohort.csv", "out": str(folder), "processes": 0}
        stage.run(stage.Config.from_mapping(fields | {"threads": 1} | settings))
    return folder
