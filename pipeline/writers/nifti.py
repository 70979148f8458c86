"""NIfTI: a volume as ``.nii.gz`` in stored order, and what is known about it as ``.json``."""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray
from pydantic import Field

from pipeline import atomic
from pipeline.config import Part
from pipeline.domain.geometry import Unit
from pipeline.domain.volume import Volume
from pipeline.writers.volumes import Fact, VolumeWriter

SCANNER = 1
"""Code of qform and sform: scanner-based anatomical coordinates."""

VECTOR = 1007
"""Intent of a file whose fifth dimension holds the components of each voxel."""

INT16 = np.iinfo(np.int16)
LARGEST_SIDE = INT16.max
"""NIfTI-1 counts voxels in 16 bits; longer sides are written as NIfTI-2."""

GZIP_WINDOW = 31
"""zlib's window bits for gzip; its header then carries neither name nor time."""


class Config(Part):
    """Settings of the NIfTI writer."""

    kind: Literal["nifti"] = "nifti"
    compression: int = Field(default=4, ge=0, le=9, description="Level of gzip: 0 none, 9 smallest and slowest.")

    def build(self) -> VolumeWriter:
        """Make the writer."""
        return NiftiWriter(self.compression)


class NiftiWriter:
    """Implements :class:`pipeline.writers.volumes.VolumeWriter`.

    Voxels that are all whole numbers of 16 bits are stored as int16, others as float32: nothing is lost. Colour of 8
    bits is RGB24, other channels stand along the fifth dimension. A picture without a scale has no qform or sform.
    """

    suffixes: tuple[str, ...] = (".nii.gz", ".json")

    def __init__(self, compression: int) -> None:
        self._compression = compression

    def write(self, stem: Path, volume: Volume, facts: Mapping[str, Fact]) -> tuple[Path, ...]:
        """See :meth:`pipeline.writers.volumes.VolumeWriter.write`."""
        image, sidecar = (stem.with_name(stem.name + suffix) for suffix in self.suffixes)
        stored = _stored(volume.voxels)
        atomic.write_with(image, lambda temporary: _fill(temporary, volume, stored, self._compression))
        atomic.write_text(sidecar, _json({**_facts(volume, stored), **facts}))
        return image, sidecar


def write_image(path: Path, volume: Volume, compression: int = 4) -> None:
    """Write the ``.nii.gz`` of a volume alone, where no reader of it is there yet; see :class:`NiftiWriter`."""
    _fill(path, volume, _stored(volume.voxels), compression)


def _fill(path: Path, volume: Volume, stored: NDArray[Any], compression: int) -> None:
    header = _header(volume, stored)
    packer = zlib.compressobj(compression, wbits=GZIP_WINDOW)
    with path.open("wb") as file:
        file.write(packer.compress(header.binaryblock + b"\0" * 4))
        for part in _slices(stored):
            file.write(packer.compress(part))
        file.write(packer.flush())


def _stored(voxels: NDArray[np.float32]) -> NDArray[Any]:
    """Voxels in the smallest type that loses nothing, shape (c, i, j, k)."""
    low, high = float(voxels.min()), float(voxels.max())
    is_whole = INT16.min <= low and high <= INT16.max and all(_whole(part) for part in np.moveaxis(voxels, 3, 0))
    if not is_whole:
        return voxels
    if voxels.shape[0] == 3 and low >= 0 and high <= 255:
        return voxels.astype(np.uint8)
    return voxels.astype(np.int16)


def _whole(part: NDArray[np.float32]) -> bool:
    return bool((part == np.rint(part)).all())


def _header(volume: Volume, stored: NDArray[Any]) -> Any:
    channels, *shape = stored.shape
    kind: Any = Nifti2Header if max(shape) > LARGEST_SIDE else Nifti1Header
    header = kind(endianness="<")
    is_colour = stored.dtype == np.uint8
    header.set_data_dtype("RGB" if is_colour else stored.dtype)
    header.set_data_shape(shape if is_colour or channels == 1 else (*shape, 1, channels))
    if not is_colour and channels > 1:
        header["intent_code"] = VECTOR
    is_placed = volume.geometry.unit is Unit.MM
    header.set_qform(volume.geometry.matrix, SCANNER if is_placed else 0)
    header.set_sform(volume.geometry.matrix, SCANNER if is_placed else 0)
    header.set_xyzt_units("mm" if is_placed else "unknown")
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    return header


def _slices(stored: NDArray[Any]) -> Iterator[bytes]:
    """Bytes of the voxels in NIfTI's order, i fastest; colour components before i, other channels slowest."""
    little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    groups = [little] if stored.dtype == np.uint8 else [little[c : c + 1] for c in range(len(little))]
    for group in groups:
        for k in range(group.shape[3]):
            yield group[..., k].tobytes(order="F")


def _facts(volume: Volume, stored: NDArray[Any]) -> dict[str, object]:
    geometry = volume.geometry
    return {
        "modality": volume.modality,
        "shape": geometry.shape,
        "channels": volume.channels,
        "spacing": geometry.spacing,
        "unit": geometry.unit,
        "affine": geometry.affine,
        "plane": volume.plane,
        "stored_as": str(stored.dtype),
        "minimum": float(volume.voxels.min()),
        "maximum": float(volume.voxels.max()),
        "padding_voxels": 0 if volume.valid is None else int(np.count_nonzero(~volume.valid)),
        "notes": volume.notes,
    }


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
