"""A MedMNIST file: images and labels of three splits in one .npz, checked before anything is allocated."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Split
from pipeline.errors import UsageError

PREFIXES = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
KEYS = tuple(f"{prefix}_{part}" for prefix in PREFIXES.values() for part in ("images", "labels"))
LARGEST_BYTES = 64 * 1024**3
"""No data set of MedMNIST is larger."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
REMEDY = "Give a file of MedMNIST as it was published: NAME.npz."


@dataclass(frozen=True, slots=True)
class MedMnistFile:
    """An opened file.

    Attributes
    ----------
    counts : dict
        Images a split.
    image : tuple of int
        Shape of one image: (rows, columns), (rows, columns, 3) or (side, side, side).
    labels : dict
        Array (images, columns) a split.
    """

    path: Path
    counts: dict[Split, int]
    image: tuple[int, ...]
    labels: dict[Split, NDArray[np.int64]]

    @property
    def is_3d(self) -> bool:
        """Whether an image is a volume."""
        return len(self.image) == 3 and self.image[-1] != 3

    @property
    def label_columns(self) -> int:
        """Number of labels that an image has."""
        return int(self.labels[Split.TRAIN].shape[1])

    @property
    def classes(self) -> int:
        """Number of classes, by the largest label."""
        return 1 + max(int(labels.max()) for labels in self.labels.values())

    def images(self) -> Iterator[tuple[Split, int, NDArray[np.uint8]]]:
        """Every image with its split and index, one split in memory at a time."""
        for split, prefix in PREFIXES.items():
            for index, image in enumerate(_array(self.path, f"{prefix}_images")):
                yield split, index, image


def open_medmnist(path: Path) -> MedMnistFile:
    """Check the arrays of a file by their headers and read the labels. No pickle is ever loaded.

    Raises
    ------
    UsageError
        The file is none of MedMNIST: it says which array is missing, unknown or of another shape.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file.", REMEDY)
    shapes = _shapes(path)
    images = {split: shapes[f"{prefix}_images"] for split, prefix in PREFIXES.items()}
    kinds = {shape[1:] for shape in images.values()}
    if len(kinds) != 1 or not _is_image(image := kinds.pop()):
        raise UsageError(
            f"{path.name}: images have the shapes {sorted(images.values())}; they are to be (n, rows, columns), "
            "(n, rows, columns, 3) or (n, side, side, side), alike in all splits.",
            REMEDY,
        )
    counts = {split: shape[0] for split, shape in images.items()}
    for split, prefix in PREFIXES.items():
        shape = shapes[f"{prefix}_labels"]
        if len(shape) != 2 or shape[0] != counts[split] or not shape[0] or not shape[1]:
            raise UsageError(f"{path.name}: {prefix}_labels has the shape {shape} for {counts[split]} images.", REMEDY)
    labels = {split: _array(path, f"{prefix}_labels").astype(np.int64) for split, prefix in PREFIXES.items()}
    if len({array.shape[1] for array in labels.values()}) != 1:
        raise UsageError(f"{path.name}: the splits have another number of label columns each.", REMEDY)
    _check_labels(path.name, labels, sum(counts.values()))
    return MedMnistFile(path, counts, image, labels)


def _check_labels(name: str, labels: Mapping[Split, NDArray[np.int64]], images: int) -> None:
    """Refuse what is no index of a class: below 0, above the number of images, in multilabel all but 0 and 1."""
    for split, prefix in PREFIXES.items():
        largest = 1 if labels[split].shape[1] > 1 else images - 1
        strange = np.argwhere((labels[split] < 0) | (labels[split] > largest))
        if len(strange):
            row, column = strange[0]
            found = labels[split][row, column]
            raise UsageError(
                f"{name}: {prefix}_labels holds {found} at image {row}; labels are 0 to {largest}.", REMEDY
            )


def _is_image(shape: tuple[int, ...]) -> bool:
    if not all(shape):
        return False
    return len(shape) == 2 or (len(shape) == 3 and (shape[-1] == 3 or len(set(shape)) == 1))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each array by its header alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if sorted(names) != sorted(KEYS):
                raise UsageError(
                    f"{path.name} holds the arrays {', '.join(sorted(names))}; MedMNIST has {', '.join(KEYS)}.", REMEDY
                )
            return {name: _shape(path, name, archive) for name in names}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path.name} cannot be read as .npz ({type(error).__name__}).", REMEDY) from error


def _shape(path: Path, name: str, archive: zipfile.ZipFile) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in HEADERS:
            raise UsageError(f"{path.name}: {name} has the unknown layout {version}.", REMEDY)
        shape, _, dtype = HEADERS[version](stream)
    wanted = "u1" if name.endswith("images") else "integers of at most 64 bits"
    if dtype.hasobject or not (dtype == np.uint8 if name.endswith("images") else dtype.kind in "ui"):
        raise UsageError(f"{path.name}: {name} holds {dtype}; it is to hold {wanted}.", REMEDY)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > LARGEST_BYTES:
        raise UsageError(f"{path.name}: {name} claims the shape {shape}, larger than any of MedMNIST.", REMEDY)
    return tuple(shape)


def _array(path: Path, name: str) -> NDArray[np.uint8]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array: NDArray[np.uint8] = arrays[name]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise UsageError(f"{path.name}: {name} is damaged ({type(error).__name__}).", REMEDY) from error
    return array
