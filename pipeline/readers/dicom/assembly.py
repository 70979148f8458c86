"""From headers to series: copies and localizers set aside, stacks told apart, faults found without any pixels."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.geometry import Geometry
from pipeline.domain.series import Refusal, Series, SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.copies import (
    digest_of_bytes,
    forget_digests,
    pixel_digest,
    without_copied_stacks,
    without_copies_of_files,
    without_copies_of_images,
)
from pipeline.readers.dicom.header import Header
from pipeline.readers.dicom.kinds import Kind
from pipeline.readers.dicom.mending import mended_geometry
from pipeline.readers.dicom.numbering import images_of_one_uid, missing_images
from pipeline.readers.dicom.orientation import check_alike, parallel_groups
from pipeline.readers.dicom.partition import difference_notes, partitions, split_notes
from pipeline.readers.dicom.pixel_format import FLOAT_BYTES
from pipeline.readers.dicom.slices import Slice
from pipeline.readers.dicom.splitting import Stack, split, without_copies
from pipeline.readers.dicom.stated import check_stated_places
from pipeline.readers.neighbours import MISSING, SHARED_UID
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled
from pipeline.readers.resampling import Resampling

COPY = "the same image is present more than once"

ATTRIBUTE_OF_KEY = {
    "EchoTime": "echo",
    "EchoNumbers": "echo_number",
    "InversionTime": "inversion_time",
    "DiffusionBValue": "b_value",
    "DiffusionGradientOrientation": "gradient",
    "TemporalPositionIdentifier": "time_point",
    "NominalPercentageOfCardiacPhase": "cardiac_phase",
    "ConvolutionKernel": "kernel",
    "KVP": "kvp",
    "StackID": "stack",
    "TriggerTime": "trigger_time",
    "AcquisitionNumber": "acquisition",
    "ComplexImageComponent": "component",
    "NominalPercentageOfRespiratoryPhase": "respiratory_phase",
    "FlipAngle": "flip_angle",
    "SequenceName": "sequence",
    "SeriesNumber": "series_number",
    "pass": "pass",
}
"""Under which name a series carries what told it from its siblings."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A stack with its place in the patient; `resampling` is how it gets there, where it was mended."""

    stack: Stack
    geometry: Geometry
    notes: tuple[str, ...]
    resampling: Resampling | None = None


def assemble(headers: Sequence[Header], options: ReadOptions) -> Assembled:
    """Put the inspected files of a folder together."""
    series: list[Series] = []
    refusals: list[Refusal] = []
    for members in _by_series(headers):
        patients = {header.identity.patient_id for header in members}
        if len(patients) > 1:
            named = len(patients - {""})
            shared = f"{named} patients share one series of one study"
            message = shared if named > 1 else "PatientID is missing on some images of the series"
            fault = RejectedInput(Code.BAD_HEADER, message)
            refusals += refuse_all([header.file for header in members], fault)
            continue
        if len({bool(header.identity.study_uid) for header in members}) > 1:
            fault = RejectedInput(Code.BAD_HEADER, "StudyInstanceUID is missing on some images of the series")
            refusals += refuse_all([header.file for header in members], fault)
            continue
        try:
            found, refused = _one_series(members, options)
        except PARSE_ERRORS as error:
            fault = RejectedInput(Code.BAD_HEADER, f"the headers of the series make no sense ({type(error).__name__})")
            found, refused = [], refuse_all([header.file for header in members], fault)
        series += found
        refusals += refused
    forget_digests()
    return Assembled(tuple(_unique(series)), tuple(refusals))


def stacks_in(slices: Sequence[Slice], options: ReadOptions) -> tuple[list[Placed], list[Refusal]]:
    """Sort the slices of one series, or the frames of one file, into stacks with an affine each."""
    placed: list[Placed] = []
    refusals: list[Refusal] = []
    for keys, part in partitions(slices, options.split_by):
        found, refused = _stacks_of_part(part, keys, options)
        placed += found
        refusals += refused
    return placed, refusals


def _stacks_of_part(
    slices: Sequence[Slice], keys: Mapping[str, str], options: ReadOptions
) -> tuple[list[Placed], list[Refusal]]:
    placed: list[Placed] = []
    refusals: list[Refusal] = []
    groups, refused = parallel_groups(slices)
    for odd in refused:
        refusals += refuse_all([one.file for one in odd.slices], odd.error)
    for group in groups:
        files = [one.file for one in group]
        try:
            kept, copies = without_copies(group, lambda one: pixel_digest(one, options.max_bytes))
            check_stated_places(kept)
            stacks, again = without_copied_stacks(split(kept), options.max_bytes)
            copies += [one for stack in again for one in stack.slices]
        except RejectedInput as error:
            refusals += refuse_all(files, error)
            continue
        refusals += [Refusal(copy.file, Code.DUPLICATE, COPY) for copy in copies]
        for stack in stacks:
            try:
                check_alike(stack.slices)
                _check_size(stack, options.max_bytes)
                geometry, notes, resampling = mended_geometry(stack.slices, options)
                told = replace(stack, keys={**keys, **stack.keys})
                notes = (*notes, *difference_notes(stack.slices), *split_notes(options.split_by))
                placed.append(Placed(told, geometry, notes, resampling))
            except RejectedInput as error:
                refusals += refuse_all([one.file for one in stack.slices], error)
    return placed, refusals


def refuse_all(files: Iterable[SourceFile], error: RejectedInput) -> list[Refusal]:
    """Refuse the files of a series: the first carries the reason, the others are INCOMPLETE and name it."""
    first, *others = dict.fromkeys(files)
    code = Code(error.code)
    refusals = [Refusal(first, code, error.message)]
    if code in SKIPS:
        return refusals + [Refusal(file, code, error.message) for file in others]
    return refusals + _incomplete(others, error)


def _incomplete(files: Iterable[SourceFile], error: RejectedInput) -> list[Refusal]:
    message = f"another file of the series is refused: {error.code}, {error.message}"
    return [Refusal(file, Code.INCOMPLETE, message) for file in files]


def _by_series(headers: Sequence[Header]) -> Iterator[list[Header]]:
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in headers:
        own = header.series_uid or header.file.relative
        groups[header.identity.study_uid, own].append(header)
    lost = {own: members for (study, own), members in groups.items() if not study}
    named = {own for study, own in groups if study}
    for study, own in sorted(groups):
        if study:
            yield groups[study, own] + lost.pop(own, [])  # which cannot be: the two contradict each other
        elif own not in named:
            yield groups[study, own]


def _one_series(members: Sequence[Header], options: ReadOptions) -> tuple[list[Series], list[Refusal]]:
    unique, copies = without_copies_of_files(members)
    sound = [one for one in unique if not _is_slice(one) and one.fault is None]
    whole, again = without_copies_of_images(sound, options.max_bytes)
    copies += again
    refusals = [Refusal(copy.file, Code.DUPLICATE, COPY) for copy in copies]
    series: list[Series] = []
    slices = [header for header in unique if _is_slice(header)]
    for header in unique:
        if header.fault is not None and not _is_slice(header):
            refusals += refuse_all([header.file], header.fault)
    for header in whole:
        if header.kind is Kind.FRAMES:
            found, refused = _volumes([header], options)
            series += found
            refusals += refused
        else:
            series.append(_series(header, (header.file,), 0, {"slices": "1"}))
    if slices:
        found, refused = _volumes(slices, options)
        missing = missing_images(header.number for header in members if _is_slice(header))
        series += [_telling(one, MISSING, missing) for one in found]
        refusals += refused
    uid, identity = members[0].series_uid, members[0].identity
    instance_of = {header.file: header.instance_uid for header in members}
    series = [_telling(one, SHARED_UID, images_of_one_uid(map(instance_of.__getitem__, one.files))) for one in series]
    series.sort(key=lambda one: (min(instance_of[file] for file in one.files), one.stack))
    refusals = _once(refusals, series)
    return _named(series, instance_of), [replace(refusal, series=uid, identity=identity) for refusal in refusals]


def _telling(series: Series, attribute: str, text: str) -> Series:
    return replace(series, attributes={**series.attributes, attribute: text}) if text else series


def _is_slice(header: Header) -> bool:
    """Whether a file is a slice, or was one before it was damaged: a volume without it would be a wrong one."""
    if header.kind is not None or header.fault is None:
        return header.kind is Kind.SLICE
    return header.fault.code not in (Code.NOT_SUPPORTED, Code.MOSAIC)


def _once(refusals: Sequence[Refusal], series: Sequence[Series]) -> list[Refusal]:
    """Keep one verdict a file, and of a file that gave a series each of its stacks that is refused."""
    used = {file for one in series for file in one.files}
    first: dict[tuple[SourceFile, str], Refusal] = {}
    for refusal in refusals:
        if refusal.file not in used:
            first.setdefault((refusal.file, ""), refusal)
        elif refusal.code not in SKIPS:
            first.setdefault((refusal.file, refusal.message), refusal)
    return list(first.values())


def _volumes(headers: Sequence[Header], options: ReadOptions) -> tuple[list[Series], list[Refusal]]:
    """Volumes of the slices of a series, or of the frames of one file."""
    faulty = [header for header in headers if header.fault is not None]
    if faulty:
        refusals = [r for header in faulty if header.fault for r in refuse_all([header.file], header.fault)]
        fault = faulty[0].fault
        assert fault is not None
        return [], refusals + _incomplete([header.file for header in headers if header.fault is None], fault)
    slices = [one for header in headers for one in header.slices]
    header_of = {header.file: header for header in headers}
    placed, refusals = stacks_in(slices, options)
    in_one_file = len(headers) == 1
    series = []
    for number, one in enumerate(placed):
        files = tuple(dict.fromkeys(part.file for part in one.stack.slices))
        series.append(_series(header_of[files[0]], files, number if in_one_file else 0, _attributes(one)))
    return series, refusals


def _series(header: Header, files: tuple[SourceFile, ...], stack: int, attributes: dict[str, str]) -> Series:
    return Series(
        reader="dicom",
        key=header.series_uid or header.file.relative,
        files=files,
        modality=header.modality,
        stack=stack,
        description=header.description,
        identity=header.identity,
        attributes={**header.attributes, **attributes},
    )


def _attributes(placed: Placed) -> dict[str, str]:
    told = {
        ATTRIBUTE_OF_KEY[key]: value for key, value in placed.stack.keys.items() if value and key in ATTRIBUTE_OF_KEY
    }
    if frame_type := placed.stack.slices[0].frame_type:
        told["image_type"] = frame_type
    spacing = "x".join(f"{mm:.4g}" for mm in placed.geometry.spacing)
    return {
        "plane": str(placed.geometry.plane),
        "slices": str(placed.geometry.shape[2]),
        "spacing": spacing,
        "frame_of_reference": placed.stack.slices[0].frame_of_reference,
        **told,
    }


def _named(series: list[Series], instance_of: Mapping[SourceFile, str]) -> list[Series]:
    """Give the stacks of one series keys of their own, by their images: not by rank, which others would change."""
    if len(series) == 1:
        return series
    origins = [f"{min(instance_of[file] for file in one.files)}/{one.stack}" for one in series]
    if len(set(origins)) < len(origins):  # images of several stacks share a UID
        origins = [f"{origin}/{digest_of_bytes(one.files[0])}" for origin, one in zip(origins, series, strict=True)]
    return [replace(one, key=f"{one.key}#{_short(origin)}") for one, origin in zip(series, origins, strict=True)]


def _unique(series: Sequence[Series]) -> Iterator[Series]:
    """Tell apart what shares a UID although it belongs to different patients or studies."""
    count = Counter(one.key for one in series)
    for one in series:
        owner = f"{one.identity.patient_id}/{one.identity.study_uid}"
        yield one if count[one.key] == 1 else replace(one, key=f"{one.key}~{_short(owner)}")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _check_size(stack: Stack, max_bytes: int) -> None:
    first = stack.slices[0]
    size = first.rows * first.columns * len(stack.slices) * FLOAT_BYTES
    if size > max_bytes:
        raise RejectedInput(Code.TOO_LARGE, f"the volume takes {size} bytes; the limit is {max_bytes}")
