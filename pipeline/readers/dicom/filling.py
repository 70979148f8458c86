"""From the files of a series to its volume: each file is loaded, judged and decoded into its place, then let go."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.terms import known_body_part
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.assembly import Placed, stacks_in
from pipeline.readers.dicom.decoding import stored_frames
from pipeline.readers.dicom.header import judgement_of
from pipeline.readers.dicom.kinds import Kind
from pipeline.readers.dicom.multiframe import groups_of
from pipeline.readers.dicom.output_units import table_notes, unit_notes
from pipeline.readers.dicom.pixel_data import ImageFile, open_image
from pipeline.readers.dicom.pixel_format import FLOAT_BYTES, PixelFormat
from pipeline.readers.dicom.pixels import padding_mask, rescale_into
from pipeline.readers.dicom.planar import colour_notes, planar_geometry, polarity_notes
from pipeline.readers.dicom.slices import Slice, rescale_attributes
from pipeline.readers.dicom.suv import Uptake, to_suv, uptake_of
from pipeline.readers.dicom.tables import looked_up, palette_of
from pipeline.readers.dicom.values import item, items
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Load
from pipeline.readers.single_file import constant_note

Padding = NDArray[np.bool_] | None
"""Where in an image (rows, columns) the scanner wrote padding; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is loaded and judged."""

    file: SourceFile
    image: ImageFile
    kind: Kind | None
    layout: PixelFormat
    slices: tuple[Slice, ...]


@dataclass
class Filling:
    """Slices of a volume in memory, (k, rows, columns), and where they are not padding; None: everywhere."""

    voxels: NDArray[np.float32]
    valid: NDArray[np.bool_] | None = None
    slices: list[Slice] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, layout: PixelFormat, options: ReadOptions) -> "Filling":
        """Make room for `count` slices."""
        size = count * layout.rows * layout.columns * FLOAT_BYTES
        if size > options.max_bytes:
            raise RejectedInput(Code.TOO_LARGE, f"the volume takes {size} bytes; the limit is {options.max_bytes}")
        return cls(np.empty((count, layout.rows, layout.columns), dtype=np.float32))

    def add(self, opened: Opened, slices: Sequence[Slice], modality: str) -> None:
        """Decode frames of a file behind those that are there."""
        if self.voxels.shape[1:] != (opened.layout.rows, opened.layout.columns):
            raise _changed(path=str(opened.file.path))
        if opened.layout.channels > 1:
            message = "colour in the slices of a volume is not read yet"
            raise RejectedInput(Code.NOT_SUPPORTED, message, path=str(opened.file.path))
        places = self.voxels[len(self.slices) :]
        rescale = [_rescale_of(opened.image.dataset, one.frame) for one in slices]
        decoded = _decode_into(places, opened, [one.frame for one in slices], rescale, modality)
        for one, padding in zip(slices, decoded, strict=True):
            if padding is not None:
                self.valid = np.ones(self.voxels.shape, dtype=bool) if self.valid is None else self.valid
                self.valid[len(self.slices)] = ~padding
            self.slices.append(one)

    def sort(self, slices: Sequence[Slice]) -> None:
        """Bring the slices into another order."""
        if list(slices) == self.slices:
            return
        place_of = {(one.file, one.frame): place for place, one in enumerate(self.slices)}
        order = [place_of[one.file, one.frame] for one in slices]
        self.voxels = self.voxels[order]
        self.valid = None if self.valid is None else self.valid[order]
        self.slices = list(slices)


def volume_of(series: Series, load: Load, options: ReadOptions) -> Volume:
    """Read a series.

    Raises
    ------
    RejectedInput
        CHANGED where its files make another series now; whatever judging and decoding raise.
    """
    wants_suv = options.suv and series.modality == "PT"
    first = _open(series.files[0], load, options)
    if first.kind is Kind.PLANAR:
        return _planar(series, first)
    if first.kind is Kind.FRAMES:
        placed = _placed(series, first.slices, options)
        filling = Filling.of(len(placed.stack.slices), first.layout, options)
        filling.add(first, placed.stack.slices, series.modality)
        return _volume(series, placed, filling, [uptake_of(first.image.dataset)] if wants_suv else [])
    filling = Filling.of(len(series.files), first.layout, options)
    filling.add(first, first.slices, series.modality)
    uptakes = [uptake_of(first.image.dataset)] if wants_suv else []
    del first
    for file in series.files[1:]:
        opened = _open(file, load, options)
        if opened.kind is not Kind.SLICE:
            raise _changed(path=str(file.path))
        filling.add(opened, opened.slices, series.modality)
        uptakes += [uptake_of(opened.image.dataset)] if wants_suv else []
    placed = _placed(series, filling.slices, options)
    filling.sort(placed.stack.slices)
    return _volume(series, placed, filling, uptakes)


def _changed(cause: str = "", path: str = "") -> RejectedInput:
    return RejectedInput(Code.CHANGED, f"its files make another series now{cause}", path=path)


def _open(file: SourceFile, load: Load, options: ReadOptions) -> Opened:
    content = load(file)
    try:
        image = open_image(content, options.max_bytes)
        judged = judgement_of(file, image.dataset, options)
        if judged.fault is not None:
            raise judged.fault
    except RejectedInput as error:
        error.path = str(file.path)
        raise
    assert judged.layout is not None
    return Opened(file, image, judged.kind, judged.layout, judged.slices)


def _placed(series: Series, slices: Sequence[Slice], options: ReadOptions) -> Placed:
    """Find the stack that the series is, which must be what it was when it was discovered."""
    placed, refusals = stacks_in(slices, options)
    if series.stack >= len(placed):
        raise _changed(f" ({refusals[0].code}: {refusals[0].message})" if refusals else "")
    chosen = placed[series.stack]
    if {one.file for one in chosen.stack.slices} != set(series.files):
        raise _changed()
    return chosen


def _volume(series: Series, placed: Placed, filling: Filling, uptakes: Sequence[Uptake]) -> Volume:
    voxels = filling.voxels.transpose(2, 1, 0)[np.newaxis]  # a view: copying it takes longer than all the rest
    mask = None if filling.valid is None else filling.valid.transpose(2, 1, 0)
    if placed.resampling is not None:
        voxels, mask = placed.resampling.apply(voxels, mask)
    of_values = to_suv(voxels, uptakes) if uptakes else unit_notes(placed.stack.slices[0], series.modality)
    of_values = (*of_values, *table_notes(placed.stack.slices[0].rescale))
    return Volume(
        voxels=voxels,
        geometry=placed.geometry,
        modality=series.modality,
        valid=mask,
        notes=(*placed.notes, *of_values, *constant_note(voxels)),
        body_part=known_body_part(series.attributes.get("body_part", "")),
    )


def _planar(series: Series, opened: Opened) -> Volume:
    layout, dataset = opened.layout, opened.image.dataset
    geometry, notes = planar_geometry(dataset, layout)
    shape = (layout.rows, layout.columns)
    in_colour = layout.channels > 1
    values = np.empty((*shape, layout.channels) if in_colour else shape, dtype=np.float32)
    (padding,) = _decode_into([values], opened, (0,), [dataset], series.modality)
    planes = np.moveaxis(values, -1, 0) if in_colour else values[np.newaxis]
    voxels = np.ascontiguousarray(planes.transpose(0, 2, 1))[..., np.newaxis]
    return Volume(
        voxels=voxels,
        geometry=geometry,
        modality=series.modality,
        valid=None if padding is None else np.ascontiguousarray(~padding.T)[..., np.newaxis],
        notes=(
            *notes,
            *(colour_notes(dataset) if in_colour else polarity_notes(dataset, layout)),
            *table_notes(rescale_attributes(dataset)),
            *constant_note(voxels),
        ),
        body_part=known_body_part(series.attributes.get("body_part", "")),
    )


def _decode_into(
    places: Iterable[NDArray[np.float32]],
    opened: Opened,
    frames: Sequence[int],
    rescale: Sequence[Dataset],
    modality: str,
) -> Iterator[Padding]:
    """Decode frames, each right into its place (rows, columns), or (rows, columns, 3) in RGB; yield their padding."""
    layout = opened.layout
    try:
        decoded = stored_frames(opened.image, layout, frames)
        for stored, transformation, place in zip(decoded, rescale, places, strict=False):
            if layout.is_colour:
                place[...] = stored
                yield None
            elif layout.is_palette:
                descriptor, colours = palette_of(opened.image.dataset, signed=layout.signed, little=layout.little)
                place[...] = looked_up(stored, descriptor, colours)
                yield None
            else:
                padding = padding_mask(stored, opened.image.dataset, layout)
                rescale_into(place, stored, transformation, layout, modality)
                yield padding
    except RejectedInput as error:
        error.path = str(opened.file.path)
        raise


def _rescale_of(dataset: Dataset, frame: int) -> Dataset:
    """Find what holds the rescale of a frame: its functional group (PS3.3 C.7.6.16.2.9), else the image itself."""
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return dataset
    group = groups_of(frames[frame], item(dataset, "SharedFunctionalGroupsSequence") or Dataset())
    found = group("PixelValueTransformationSequence")
    return found if len(found) else dataset
