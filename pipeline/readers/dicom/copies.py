"""Images that are present more than once: the same file again, or the same image under another instance UID."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

from pydicom.dataset import Dataset

from pipeline.domain.series import SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import read_whole
from pipeline.readers.dicom.header import Header
from pipeline.readers.dicom.multiframe import groups_of
from pipeline.readers.dicom.orientation import FEWEST_SLICES
from pipeline.readers.dicom.slices import Slice
from pipeline.readers.dicom.splitting import Stack
from pipeline.readers.dicom.values import item, items, syntax_of
from pipeline.readers.loading import load

RESTING_ON = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "Units", "ModalityLUTSequence"),
    *("PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *("ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence", "PixelData"),
)
"""What the voxels of an image, and which view it is, rest on."""

Places = tuple[tuple[object, ...], ...]


def without_copies_of_files(members: Sequence[Header]) -> tuple[list[Header], list[Header]]:
    """Part files from copies of them, byte for byte: only what shares size and UID can be one, and is read."""
    alike = Counter((header.instance_uid, header.file.size) for header in members)
    first_of: dict[str, Header] = {}
    copies: list[Header] = []
    for header in members:
        is_alone = alike[header.instance_uid, header.file.size] == 1
        key = header.file.relative if is_alone else header.file.sha256 or digest_of_bytes(header.file)
        if key in first_of:
            copies.append(header)
        else:
            first_of[key] = header
    return list(first_of.values()), copies


def without_copies_of_images(headers: Sequence[Header], max_bytes: int) -> tuple[list[Header], list[Header]]:
    """Part files that are a volume or an image each from copies under another instance UID.

    A copy has frames at the same places, told apart by the same attributes, and everything that voxels rest on is
    equal. Only files whose places are equal are read for it, and inflated to `max_bytes` at most.
    """
    alike: dict[tuple[object, ...], list[Header]] = defaultdict(list)
    for header in headers:
        alike[header.kind, header.modality, _places(header)].append(header)
    kept: list[Header] = []
    copies: list[Header] = []
    for group in alike.values():
        seen: set[str] = set()
        for header in group:
            digest = _digest_of_image(header.file, max_bytes) if len(group) > 1 else ""
            (copies if digest in seen else kept).append(header)
            seen.add(digest)
    return kept, copies


def without_copied_stacks(stacks: Sequence[Stack], max_bytes: int) -> tuple[list[Stack], list[Stack]]:
    """Part stacks from copies of them at another time: an archive that sends a series again may write it anew.

    A slice of air may be equal at two times; a copy has every slice equal. The middle one is compared first, so that
    few files are read where nothing is copied.
    """
    kept: list[Stack] = []
    copies: list[Stack] = []
    for stack in stacks:
        is_copy = any(_are_copies(stack.slices, other.slices, max_bytes) for other in kept)
        (copies if is_copy else kept).append(stack)
    return kept, copies


def _are_copies(some: Sequence[Slice], others: Sequence[Slice], max_bytes: int) -> bool:
    if len(some) != len(others) or len(some) < FEWEST_SLICES or any(one.frame for one in (*some, *others)):
        return False
    pairs = list(zip(some, others, strict=True))
    middle = len(pairs) // 2
    return all(
        (one.position, one.meaning, one.encoding) == (other.position, other.meaning, other.encoding)
        and pixel_digest(one, max_bytes) == pixel_digest(other, max_bytes)
        for one, other in (pairs[middle], *pairs[:middle], *pairs[middle + 1 :])
    )


def _places(header: Header) -> Places:
    return tuple(
        (one.orientation, one.position, one.spacing, tuple(sorted(one.keys.items())), tuple(sorted(one.times.items())))
        for one in header.slices
    )


def digest_of_bytes(file: SourceFile) -> str:
    """Sha256 of a file; its name where it cannot be read."""
    try:
        return hashlib.sha256(load(file)).hexdigest()
    except RejectedInput:  # reading its voxels will tell
        return file.relative


def _digest_of_image(file: SourceFile, max_bytes: int) -> str:
    """Digest of all that the voxels of a file rest on: :data:`RESTING_ON`, and the rescale of each of its frames."""
    try:
        dataset = read_whole(load(file), max_bytes)
    except RejectedInput:
        return file.relative
    found = hashlib.sha256(syntax_of(dataset).encode())
    for keyword in RESTING_ON:
        value = dataset.get(keyword)
        found.update(value if isinstance(value, bytes) else f"{keyword}={value}".encode())
    for rescale in _rescales(dataset):
        found.update(str(rescale).encode())
    return found.hexdigest()


def _rescales(dataset: Dataset) -> Iterator[Dataset]:
    shared = item(dataset, "SharedFunctionalGroupsSequence") or Dataset()
    for frame in items(dataset, "PerFrameFunctionalGroupsSequence"):
        yield groups_of(frame, shared)("PixelValueTransformationSequence")


def pixel_digest(one: Slice, max_bytes: int) -> str:
    """Digest of the encoded pixels of a slice that is a file; frames of one file are never copies.

    A file that cannot be read, or inflates to more than `max_bytes`, is a copy of none.
    """
    return _digest_of_file(one.file, one.frame, max_bytes)


def forget_digests() -> None:
    """Let go of what was remembered about the files of a folder."""
    _digest_of_file.cache_clear()


@cache
def _digest_of_file(file: SourceFile, frame: int, max_bytes: int) -> str:
    if frame:
        return f"{file.relative}#{frame}"
    try:
        return hashlib.sha256(read_whole(load(file), max_bytes).PixelData).hexdigest()
    except RejectedInput:
        return file.relative
