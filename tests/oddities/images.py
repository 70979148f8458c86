"""Writers of images whose values or encoding have an oddity."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
from numpy.typing import NDArray
from phantoms import jpeg_lossless
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import Edit, Identity, make_image, make_items, make_voxels, save, slice_position
from phantoms.readings import Truth
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
)

from oddities.row import Write
from oddities.series import AFFINE, POSITION, SPACING, VOXELS, setting, write

Rows = NDArray[Any]
LARGE = (40, 36, 3)
"""The encoder of JPEG 2000 takes no image below 32 by 32."""


def stored(voxels: Rows, values: Rows | None = None, **changes: Any) -> Write:
    """A series of these stored values; they are the right ones, unless others are given."""

    def writing(folder: Path) -> list[Truth]:
        write(folder, voxels, **changes)
        return [(voxels if values is None else values, AFFINE)]

    return writing


def streams(
    encode: Callable[[Rows], bytes], syntax: UID, bits: int, dtype: Any = np.uint16, said: int | None = None
) -> Write:
    """A series whose frames are encoded streams, smooth enough for a lossy format."""

    def writing(folder: Path) -> list[Truth]:
        i, j, k = np.meshgrid(*map(np.arange, LARGE), indexing="ij")
        voxels = ((np.sin(i / 5 + k) * np.cos(j / 7) * 0.45 + 0.5) * (2**bits - 1)).astype(dtype)
        for k in range(LARGE[2]):
            dataset = make_image(voxels[:, :, k], Identity(), "CT", said or bits, instance=str(k))
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.ImagePositionPatient = slice_position(((1, 0, 0), (0, 1, 0)), POSITION, SPACING, k)
            dataset.PixelSpacing = [SPACING[1], SPACING[0]]
            dataset.FrameOfReferenceUID = Identity().frame_uid
            save(dataset, folder / f"{k}.dcm")
            dataset.PixelData = encapsulate([encode(np.ascontiguousarray(voxels[:, :, k].T))])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(folder / f"{k}.dcm", enforce_file_format=True)
        return [(voxels, AFFINE)]

    return writing


def jpeg(rows: Rows) -> bytes:
    out = BytesIO()
    Image.fromarray(rows.astype(np.uint8)).save(out, "JPEG", quality=98)
    return out.getvalue()


def jpeg_12(rows: Rows) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(rows, level=98, bitspersample=12))


def sof3(rows: Rows) -> bytes:
    return jpeg_lossless.encode(rows, 12)


def jpeg_ls(rows: Rows) -> bytes:
    return bytes(imagecodecs.jpegls_encode(rows, level=2))


def j2k(rows: Rows) -> bytes:
    return bytes(openjpeg.utils.encode_array(rows, bits_stored=12))


def lossy_j2k(rows: Rows) -> bytes:
    return bytes(openjpeg.utils.encode_array(rows, bits_stored=12, compression_ratios=[4]))


def htj2k(rows: Rows) -> bytes:
    return bytes(imagecodecs.htj2k_encode(rows, reversible=True))


def lossy_htj2k(rows: Rows) -> bytes:
    return bytes(imagecodecs.htj2k_encode(rows, level=0.001, reversible=False))


def rubbish(dataset: Dataset, k: int) -> None:
    """12 bits in cells of 16, whose upper 4 hold something else."""
    cells = np.frombuffer(dataset.PixelData, np.uint16)
    dataset.PixelData = ((cells & 0xFFF) | (np.arange(len(cells)) % 15 + 1 << 12)).astype("<u2").tobytes()
    dataset.BitsStored, dataset.HighBit = 12, 11


def padded(folder: Path) -> list[Truth]:
    voxels = VOXELS.astype(np.int16)
    voxels[:2] = -2000
    write(folder, voxels, edit=setting(PixelPaddingValue=-2000))
    return [(voxels, AFFINE)]


def modality_table(folder: Path) -> list[Truth]:
    """256 entries of 8 bits, packed two a word."""
    table = np.random.default_rng(8).permutation(256).astype(np.uint8)
    image = make_voxels((6, 5, 1), high=256, dtype=np.uint8)

    def edit(dataset: Dataset) -> None:
        dataset.ModalityLUTSequence = make_items(LUTDescriptor=[256, 0, 8], ModalityLUTType="US")
        dataset.ModalityLUTSequence[0].add_new("LUTData", "OW", table.tobytes())

    write_radiograph(folder / "a.dcm", image[:, :, 0], edit=edit)
    return [(table[image], np.diag([0.2, 0.1, 1.0, 1.0]))]


def colour(
    photometric: str, edit: Callable[[Rows], Callable[[Dataset], None] | None], to: Callable[[Rows], Rows]
) -> Write:
    def writing(folder: Path) -> list[Truth]:
        i, j = np.meshgrid(np.linspace(0, 1, 8), np.linspace(0, 1, 6), indexing="ij")
        rgb = np.stack([40 + 170 * i, 60 + 130 * j, 210 - 150 * i * j], axis=-1).round().astype(np.uint8)
        rgb = np.repeat(rgb[::2], 2, axis=0)
        write_radiograph(
            folder / "a.dcm", to(rgb), modality="US", spacing=None, photometric=photometric, edit=edit(rgb)
        )
        return [(rgb[:, :, np.newaxis], np.eye(4))]

    return writing


def ybr(rgb: Rows) -> Rows:
    """PS3.3 C.7.6.3.1.2, YBR_FULL."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.round(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def shared_chroma(rgb: Rows) -> Callable[[Dataset], None]:
    parts = ybr(rgb).transpose(1, 0, 2).reshape(6, 4, 2, 3)
    content = np.stack([parts[:, :, 0, 0], parts[:, :, 1, 0], parts[:, :, 0, 1], parts[:, :, 0, 2]], axis=-1)
    return lambda dataset: setattr(dataset, "PixelData", content.tobytes())


def palette(bits: int) -> Write:
    def writing(folder: Path) -> list[Truth]:
        colours = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint16)
        index = make_voxels((6, 5, 1), high=256, dtype=np.uint8)

        def edit(dataset: Dataset) -> None:
            for channel, name in enumerate(("Red", "Green", "Blue")):
                table = colours[:, channel]
                setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
                content = table.astype(np.uint8).tobytes() if bits == 8 else (table * 257).astype("<u2").tobytes()
                setattr(dataset, f"{name}PaletteColorLookupTableData", content)

        write_radiograph(
            folder / "a.dcm", index[:, :, 0], modality="US", spacing=None, photometric="PALETTE COLOR", edit=edit
        )
        return [(colours[index], np.eye(4))]

    return writing


def pet(**missing: Any) -> Edit:
    told = {
        "Units": "BQML",
        "CorrectedImage": ["ATTN", "DECAY"],
        "DecayCorrection": "START",
        "PatientWeight": "70",
        "SeriesDate": "20240131",
        "SeriesTime": "100000",
        "AcquisitionDate": "20240131",
        "AcquisitionTime": "100000",
        "RadiopharmaceuticalInformationSequence": make_items(
            RadionuclideTotalDose="370000000",
            RadionuclideHalfLife="3600",
            RadiopharmaceuticalStartTime="090000",
        ),
    }
    return setting(**{keyword: value for keyword, value in told.items() if keyword not in missing})
