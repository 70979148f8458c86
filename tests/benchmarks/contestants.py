"""What is timed: one CT series from a folder to a volume, by us and by others.

Each function takes the folder (ours: the series that was found there), reads once and returns (seconds, processor
seconds, sum of the voxels). The sum shows that all of them read the same; it is taken only where `check` asks for it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.series import Series
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

Timed = tuple[float, float, int]
Peer = Callable[..., Timed]


def ours(series: Series, check: bool = False) -> Timed:
    """In a worker process: digests of the files verified, voxels float32 in output units."""
    begun, cpu = time.perf_counter(), time.process_time()
    volume = read(series, ReadOptions())
    taken = time.perf_counter() - begun, time.process_time() - cpu
    return *taken, _sum(check, volume.voxels)


def simpleitk(folder: Path, check: bool = False) -> Timed:
    """SimpleITK, float32; as many threads as it takes by itself."""
    import SimpleITK as sitk  # noqa: N813

    begun, cpu = time.perf_counter(), time.process_time()
    reader = sitk.ImageSeriesReader()
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    taken = time.perf_counter() - begun, time.process_time() - cpu
    return *taken, _sum(check, sitk.GetArrayViewFromImage(image))


def simpleitk_alone(folder: Path, check: bool = False) -> Timed:
    """SimpleITK on one processor: its JPEG 2000 codec takes all that it finds."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        return simpleitk(folder, check)
    finally:
        os.sched_setaffinity(0, allowed)


def dcm2niix(folder: Path, check: bool = False) -> Timed:
    """dcm2niix as a program, without compression; it writes int16 to a file in memory."""
    import nibabel

    with tempfile.TemporaryDirectory(dir=_memory()) as out:
        begun, cpu = time.perf_counter(), _of_children()
        subprocess.run([_dcm2niix(), "-z", "n", "-b", "n", "-o", out, str(folder)], capture_output=True, check=True)
        taken = time.perf_counter() - begun, _of_children() - cpu
        (path,) = Path(out).glob("*.nii")
        return *taken, _sum(check, np.asanyarray(nibabel.load(path).dataobj))


def highdicom(folder: Path, check: bool = False) -> Timed:
    """highdicom on pydicom's data sets, float32."""
    import highdicom
    from pydicom import dcmread

    begun, cpu = time.perf_counter(), time.process_time()
    datasets = [dcmread(path) for path in folder.iterdir()]
    volume = highdicom.get_volume_from_series(datasets, dtype=np.float32)
    taken = time.perf_counter() - begun, time.process_time() - cpu
    return *taken, _sum(check, volume.array)


def monai(folder: Path, check: bool = False) -> Timed:
    """MONAI's PydicomReader."""
    from monai.data import PydicomReader

    begun, cpu = time.perf_counter(), time.process_time()
    reader = PydicomReader()
    voxels, _ = reader.get_data(reader.read(str(folder)))
    taken = time.perf_counter() - begun, time.process_time() - cpu
    return *taken, _sum(check, voxels)


def peers() -> dict[str, Peer]:
    """Those that are installed."""
    programs = {"dcm2niix -z n": dcm2niix} if shutil.which(_dcm2niix()) else {}
    libraries = {"SimpleITK": simpleitk, "highdicom": highdicom, "monai": monai}
    found = {**programs, **{name: reader for name, reader in libraries.items() if find_spec(name) is not None}}
    if "SimpleITK" in found and hasattr(os, "sched_setaffinity"):
        found["SimpleITK, one processor"] = simpleitk_alone
    return found


def _dcm2niix() -> str:
    beside = Path(sys.executable).with_name("dcm2niix")
    return str(beside) if beside.exists() else "dcm2niix"


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _sum(check: bool, voxels: NDArray[np.generic]) -> int:
    return int(voxels.sum(dtype=np.float64)) if check else 0
