"""Small exports of scans with label files: NIfTI with nothing but paths, DICOM with patients and studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
from phantoms.dicom_series import Identity, make_voxels, write_series

SHAPE = (6, 5, 4)


def write_nifti(path: Path, seed: int, spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(0, 100, SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return path


def write_nifti_export(folder: Path, count: int) -> list[str]:
    """Write `count` volumes; return their relative paths."""
    names = [f"{n % 3}/scan{n:02d}.nii.gz" for n in range(count)]
    for seed, name in enumerate(names):
        write_nifti(folder / name, seed)
    return names


def write_patient(folder: Path, number: int, **identity: str) -> list[Path]:
    """Write one CT series of patient `number`, whose voxels are its own."""
    who = Identity.numbered(number, **identity)
    return write_series(folder, make_voxels(SHAPE, seed=number), identity=who, spacing=(1.0, 1.0, 2.5))


def write_dicom_export(folder: Path, numbers: Sequence[int]) -> dict[int, list[Path]]:
    """Write one study for each patient, each in a folder of its own."""
    return {number: write_patient(folder / f"{number:03d}", number) for number in numbers}


def write_labels(path: Path, columns: Mapping[str, Sequence[str]], *, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    path.write_text("".join(f"{delimiter.join(line)}\n" for line in lines), encoding="utf-8")
    return path


def yes_no(count: int) -> list[str]:
    return ["yes" if n % 2 else "no" for n in range(count)]


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
