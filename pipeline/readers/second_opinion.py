"""A series as SimpleITK reads it, for a comparison with what our own readers made of it.

Nothing of ours is used but the bytes of the files: ITK parses, decodes and rescales (GDCM for DICOM), and the slices
are ordered here by its positions. The files are copied to a temporary folder, one at a time and under neutral names.
"""

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.series import Series
from pipeline.readers.reader import Load

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and ITK count to the left and to the back (PS3.3 C.7.6.2.1.1)."""

SYNTAX = "0002|0010"
LOSSY_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{part}" for part in ("50", "51", "81", "91", "203"))
"""Transfer syntaxes whose decoders may differ by rounding (PS3.5 8.2)."""

GZIP, PNG, JPEG = b"\x1f\x8b", b"\x89PNG", b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What SimpleITK made of a series.

    Attributes
    ----------
    slices : list of ndarray
        In the order of their positions, each of shape (c, i, j) in the numbers of ITK.
    matrix : ndarray of float64, shape (4, 4), or None
        Voxel index to RAS+, mm; None for single images, of which ITK invents the place.
    is_rounded : bool
        Lossy or colour: another decoder may differ by rounding.
    """

    slices: list[NDArray[Any]]
    matrix: NDArray[np.float64] | None
    is_rounded: bool = False


def is_installed() -> bool:
    """Whether SimpleITK can be imported."""
    return importlib.util.find_spec("SimpleITK") is not None


def second_opinion(series: Series, load: Load) -> Opinion | str:
    """Read a series with SimpleITK; a text says why it could not."""
    with tempfile.TemporaryDirectory(prefix="resdx-") as folder:
        images = [_image(load(file), Path(folder), series.reader) for file in series.files]
    if fault := next((image for image in images if isinstance(image, str)), ""):
        return fault
    found = [image for image in images if not isinstance(image, str)]
    if series.reader != "dicom":
        return _whole(found[0], has_place=series.reader == "nifti")
    if any(image.GetDimension() != 3 or image.GetDepth() != 1 for image in found):
        return "it does not tell the positions of the frames of a multi-frame object"
    return _stacked(found)


def _image(content: bytes, folder: Path, reader: str) -> Any:
    """Read a file; a text says why it is none for SimpleITK."""
    sitk = _simpleitk()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    endings = ((GZIP, ".nii.gz", "NiftiImageIO"), (PNG, ".png", "PNGImageIO"), (JPEG, ".jpg", "JPEGImageIO"))
    known = ((ending, decoder) for start, ending, decoder in endings if content.startswith(start))
    ending, decoder = (".dcm", "GDCMImageIO") if reader == "dicom" else next(known, (".nii", "NiftiImageIO"))
    path = folder / f"file{ending}"
    path.write_bytes(content)
    asked = sitk.ImageFileReader()
    asked.SetImageIO(decoder)
    asked.SetFileName(str(path))
    try:
        image = asked.Execute()
    except RuntimeError:  # its text may hold values of the header
        return "it does not read such a file"
    finally:
        path.unlink()
    return image


def _stacked(images: list[Any]) -> Opinion:
    """Order single slices along their normal."""
    turn = np.array(images[0].GetDirection()).reshape(3, 3)
    normal = np.cross(turn[:, 0], turn[:, 1])
    images = sorted(images, key=lambda image: float(np.dot(normal, image.GetOrigin())))
    first, last = (np.array(image.GetOrigin()) for image in (images[0], images[-1]))
    step = (last - first) / (len(images) - 1) if len(images) > 1 else normal
    spacing = images[0].GetSpacing()
    matrix = np.eye(4)
    matrix[:3] = np.stack([turn[:, 0] * spacing[0], turn[:, 1] * spacing[1], step, first], axis=1)
    syntaxes = {image.GetMetaData(SYNTAX).strip(" \0") for image in images if image.HasMetaDataKey(SYNTAX)}
    slices = [_planes(image)[0] for image in images]
    return Opinion(
        slices,
        LPS_TO_RAS @ matrix if len(images) > 1 else None,
        is_rounded=slices[0].shape[0] > 1 or bool(syntaxes & LOSSY_SYNTAXES),
    )


def _whole(image: Any, has_place: bool) -> Opinion:
    """Take a file that holds the whole image."""
    matrix = np.eye(4)
    if has_place and image.GetDimension() == 3:
        turn = np.array(image.GetDirection()).reshape(3, 3)
        matrix[:3, :3], matrix[:3, 3] = turn * np.array(image.GetSpacing()), image.GetOrigin()
        return Opinion(_planes(image), LPS_TO_RAS @ matrix)
    return Opinion(_planes(image), None, is_rounded=not has_place)


def _planes(image: Any) -> list[NDArray[Any]]:
    """Slices of an image, each (c, i, j)."""
    values: NDArray[Any] = _simpleitk().GetArrayFromImage(image)  # (k, j, i) or (j, i), then the components
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., None]
    values = values.reshape(-1, *values.shape[-3:])
    return [plane.transpose(2, 1, 0) for plane in values]


def _simpleitk() -> Any:
    import SimpleITK

    return SimpleITK
