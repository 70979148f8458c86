"""The DICOM reader: what a file is, which series it makes, and its voxels."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.dicom import header as file_header
from pipeline.readers.dicom.assembly import Placed, assemble, stacks_in
from pipeline.readers.dicom.content import PARSE_ERRORS, looks_like_dicom
from pipeline.readers.dicom.decoding import stored_frames
from pipeline.readers.dicom.header import Header, header_of
from pipeline.readers.dicom.kinds import Kind
from pipeline.readers.dicom.multiframe import groups_of
from pipeline.readers.dicom.pixel_data import ImageFile, open_image
from pipeline.readers.dicom.pixel_format import PixelFormat, pixel_format
from pipeline.readers.dicom.pixels import padding_mask, rescale_into
from pipeline.readers.dicom.planar import planar_geometry
from pipeline.readers.dicom.slices import Slice
from pipeline.readers.dicom.values import item, items
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled, Load
from pipeline.readers.single_file import constant_note

Padding = NDArray[np.bool_] | None
"""Where in an image (rows, columns) the scanner wrote padding; None: nowhere."""


class DicomReader:
    """Reads DICOM; see :class:`pipeline.readers.reader.Reader`."""

    suffixes: tuple[str, ...] = (".dcm", ".dicom", ".ima")

    def claims(self, head: bytes) -> bool:
        """Whether a file begins as DICOM, with or without its preamble."""
        return looks_like_dicom(head)

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> Header:
        """Read the header."""
        try:
            return file_header.read(file, content, options)
        except PARSE_ERRORS as error:
            if isinstance(error, RejectedInput):
                raise
            message = f"the header makes no sense ({type(error).__name__})"
            raise RejectedInput(Code.BAD_HEADER, message) from error

    def assemble(self, headers: Sequence[Header], options: ReadOptions) -> Assembled:
        """Group files into series."""
        return assemble(headers, options)

    def read(self, series: Series, load: Load, options: ReadOptions) -> Volume:
        """Decode a series: voxels (c, i, j, k), i along a row, j down the rows, k along the slice normal."""
        images = {file: _open(file, load(file), options) for file in series.files}
        headers = [_sound(header_of(file, image.dataset, options), file) for file, image in images.items()]
        if headers[0].kind is Kind.PLANAR:
            return _read_planar(series, images[headers[0].file], options)
        placed, refusals = stacks_in([one for header in headers for one in header.slices], options)
        if refusals or series.stack >= len(placed):
            cause = f" ({refusals[0].code}: {refusals[0].message})" if refusals else ""
            if not placed or series.stack >= len(placed):
                raise RejectedInput(Code.CHANGED, f"its files make another series now{cause}")
        chosen = placed[series.stack]
        if {one.file for one in chosen.stack.slices} != set(series.files):
            raise RejectedInput(Code.CHANGED, "its files make another series now")
        return _read_volume(series, chosen, images, options)


def _open(file: SourceFile, content: bytes, options: ReadOptions) -> ImageFile:
    try:
        return open_image(content, options.max_bytes)
    except RejectedInput as error:
        error.path = str(file.path)
        raise


def _sound(header: Header, file: SourceFile) -> Header:
    if header.fault is not None:
        header.fault.path = str(file.path)
        raise header.fault
    return header


def _read_volume(series: Series, placed: Placed, images: dict[SourceFile, ImageFile], options: ReadOptions) -> Volume:
    """Fill the volume slice by slice; what a slice needed is let go at once."""
    slices = placed.stack.slices
    i, j, k = slices[0].columns, slices[0].rows, len(slices)
    stored_order = np.empty((k, j, i), dtype=np.float32)
    valid: NDArray[np.bool_] | None = None
    position = 0
    for file, run in groupby(slices, key=lambda one: one.file):
        members = list(run)
        places = stored_order[position : position + len(members)]
        for padding in _fill(places, file, images[file], members, series.modality, options):
            if padding is not None:
                valid = np.ones((k, j, i), dtype=bool) if valid is None else valid
                valid[position] = ~padding
            position += 1
        if len(images) > 1:
            del images[file]
    voxels = stored_order.transpose(2, 1, 0)[np.newaxis]  # a view: copying it takes longer than all the rest
    mask = None if valid is None else valid.transpose(2, 1, 0)
    if placed.resampling is not None:
        voxels, mask = placed.resampling.apply(voxels, mask)
    return Volume(
        voxels=voxels,
        geometry=placed.geometry,
        modality=series.modality,
        valid=mask,
        notes=(*placed.notes, *constant_note(voxels)),
    )


def _read_planar(series: Series, image: ImageFile, options: ReadOptions) -> Volume:
    (file,) = series.files
    layout = pixel_format(image.dataset, options.max_bytes)
    geometry, notes = planar_geometry(image.dataset, layout)
    shape = (layout.rows, layout.columns)
    values = np.empty((*shape, layout.samples) if layout.is_colour else shape, dtype=np.float32)
    (padding,) = _decode_into([values], file, image, layout, (0,), [image.dataset], series.modality)
    planes = np.moveaxis(values, -1, 0) if layout.is_colour else values[np.newaxis]
    voxels = np.ascontiguousarray(planes.transpose(0, 2, 1))[..., np.newaxis]
    return Volume(
        voxels=voxels,
        geometry=geometry,
        modality=series.modality,
        valid=None if padding is None else np.ascontiguousarray(~padding.T)[..., np.newaxis],
        notes=(*notes, *constant_note(voxels)),
    )


def _fill(
    places: Iterable[NDArray[np.float32]],
    file: SourceFile,
    image: ImageFile,
    slices: Sequence[Slice],
    modality: str,
    options: ReadOptions,
) -> Iterator[Padding]:
    """Write images of one file to `places`, in the order of `slices`; yield where each has padding."""
    layout = pixel_format(image.dataset, options.max_bytes)
    if layout.is_colour:
        message = "colour in the slices of a volume is not read yet"
        raise RejectedInput(Code.NOT_SUPPORTED, message, path=str(file.path))
    rescale = [_rescale_of(image.dataset, one.frame) for one in slices]
    yield from _decode_into(places, file, image, layout, [one.frame for one in slices], rescale, modality)


def _decode_into(
    places: Iterable[NDArray[np.float32]],
    file: SourceFile,
    image: ImageFile,
    layout: PixelFormat,
    frames: Sequence[int],
    rescale: Sequence[Dataset],
    modality: str,
) -> Iterator[Padding]:
    """Decode frames, each right into its place (rows, columns), or (rows, columns, 3) in RGB; yield their padding."""
    try:
        decoded = stored_frames(image, layout, frames)
        for place, stored, transformation in zip(places, decoded, rescale, strict=True):
            if layout.is_colour:
                place[...] = stored
                yield None
            else:
                padding = padding_mask(stored, image.dataset, layout)
                rescale_into(place, stored, transformation, layout, modality)
                yield padding
    except RejectedInput as error:
        error.path = str(file.path)
        raise


def _rescale_of(dataset: Dataset, frame: int) -> Dataset:
    """Find what holds the rescale of a frame: its functional group (PS3.3 C.7.6.16.2.9), else the image itself."""
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return dataset
    group = groups_of(frames[frame], item(dataset, "SharedFunctionalGroupsSequence") or Dataset())
    found = group("PixelValueTransformationSequence")
    return found if len(found) else dataset
