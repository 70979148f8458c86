"""A small cohort of noisy volumes or images; those with a lesion hold a bright blob."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.data.datamodule import CaseDataModule
from pipeline.data.settings import AugmentationSettings, DataSettings
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan, Window
from pipeline.domain.volume import Volume
from pipeline.preprocessing.cache import PreparedCache

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIZE = Finding(name="size", kind=FindingKind.ORDINAL, classes=("none", "small", "large"))
FINDINGS = (LESION, SIZE)
SIDE = 10


def make_case(number: int, split: Split, ndim: int) -> Case:
    grade = number % 3
    series = CaseSeries(
        series=f"S{number}",
        reader="nifti",
        modality="CT",
        shape=(SIDE, SIDE, SIDE if ndim == 3 else 1),
        spacing=(1.0, 1.0, 1.0),
        unit=Unit.MM,
        plane=Plane.AXIAL,
        channels=1,
        digest=f"{number:064x}",
    )
    labels = {"lesion": "yes" if grade else "no", "size": SIZE.classes[grade]}
    return Case(
        case=f"C{number}", patient=f"P{number}", study=f"T{number}", series=(series,), labels=labels, split=split
    )


def read(case: Case) -> Volume:
    number = int(case.digest, 16)
    shape = case.series[0].shape
    rng = np.random.default_rng(number)
    voxels = rng.normal(0, 25, shape).astype(np.float32)
    grade = number % 3
    if grade:
        reach = 2 * grade
        corner = rng.integers(1, SIDE - reach, 3)
        k = slice(corner[2], corner[2] + reach) if shape[2] > 1 else slice(None)
        voxels[corner[0] : corner[0] + reach, corner[1] : corner[1] + reach, k] += 100
    geometry = Geometry.from_matrix(shape, np.eye(4))
    return Volume(voxels=voxels[np.newaxis], geometry=geometry, modality="CT")


def make_plan(ndim: int = 3) -> Plan:
    return Plan(
        fingerprint="f",
        modality="CT",
        unit=Unit.MM,
        ndim=3 if ndim == 3 else 2,
        channels=1,
        spacing=(1.0,) * ndim,
        size=(SIDE,) * ndim,
        intensity=Window(low=-100, high=100),
        depth=10,
        batch_size=8,
        precision="auto",
    )


def make_manifest(train: int = 24, validation: int = 12, test: int = 6, ndim: int = 3) -> Manifest:
    splits = [Split.TRAIN] * train + [Split.VALIDATION] * validation + [Split.TEST] * test
    return Manifest(findings=FINDINGS, cases=tuple(make_case(n, split, ndim) for n, split in enumerate(splits)))


def make_data(
    folder: Path,
    manifest: Manifest,
    *,
    ndim: int = 3,
    batch_size: int = 8,
    seed: int = 0,
    reader: Callable[[Case], Volume] = read,
    **settings: object,
) -> CaseDataModule:
    cache = PreparedCache(folder, make_plan(ndim))
    assert cache.fill(manifest.cases, reader) == ()
    augmentation = AugmentationSettings(flip_axes=(0, 1), shift=1, noise=0.05)
    chosen = DataSettings.model_validate({"augmentation": augmentation} | settings)
    return CaseDataModule(manifest, cache, chosen, batch_size=batch_size, seed=seed)
