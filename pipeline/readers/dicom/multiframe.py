"""Slices of an enhanced multi-frame image: each frame with its functional groups (PS3.3 C.7.6.16)."""

from collections.abc import Callable, Mapping, Sequence

from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.contrast_agent import SOME_FRAMES
from pipeline.domain.series import SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.converted import FOR_EACH
from pipeline.readers.dicom.elements import is_present
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.slices import (
    MEANING,
    NUMBERS,
    Slice,
    keys_of,
    pixel_spacing,
    positive,
    rescale_attributes,
    series_of,
    stated_distance,
    tidy,
    times_of,
)
from pipeline.readers.dicom.values import item, items, numbers, text

Group = Callable[[str], Dataset]
"""Returns a functional group by the keyword of its sequence, an empty one where neither frame nor file has it."""

KEYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ImageType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
    ),
    "ComplexImageComponent": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "InversionTime": (("MRModifierSequence", "InversionTimes"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "NominalPercentageOfCardiacPhase": (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "KVP": (("CTXRayDetailsSequence", "KVP"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "NominalPercentageOfRespiratoryPhase": (
        ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
}
"""Where a frame keeps what a single-frame image keeps at the top."""

ATTRIBUTES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "slice_thickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "kernel": KEYS["ConvolutionKernel"],
    "echo": KEYS["EchoTime"],
}
"""Attributes of a series that frames keep."""

USAGE = "ContrastBolusUsageSequence"
UNNAMED_AGENT = "unnamed"


def frame_slices(file: SourceFile, dataset: Dataset, layout: PixelFormat) -> tuple[Slice, ...]:
    """Slices of all frames, in stored order.

    Raises
    ------
    RejectedInput
        BAD_HEADER, BAD_VALUE, or NOT_SUPPORTED for an image spread over several files.
    """
    count = layout.frames
    if text(dataset, "ConcatenationUID"):
        raise RejectedInput(Code.NOT_SUPPORTED, "a multi-frame image that is spread over several files")
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(frames) != count:
        raise RejectedInput(Code.BAD_HEADER, f"{count} frames, but functional groups for {len(frames)}")
    shared = item(dataset, "SharedFunctionalGroupsSequence") or Dataset()
    return tuple(_frame(file, dataset, layout, groups_of(frame, shared), n) for n, frame in enumerate(frames))


def groups_of(frame: Dataset, shared: Dataset) -> Group:
    """Look up functional groups: those of the frame come before those of all frames."""

    def group(keyword: str) -> Dataset:
        return item(frame, keyword) or item(shared, keyword) or Dataset()

    return group


def frame_attributes(dataset: Dataset) -> dict[str, str]:
    """Attributes of a series on which all frames agree (PS3.3 C.7.6.16); of an image without functional groups, none.

    The contrast agent is that of ContrastBolusAgentSequence (PS3.3 C.7.6.4b), unless the frames say that it was not
    administered yet; where it was in some of them, :data:`pipeline.domain.contrast_agent.SOME_FRAMES`.
    """
    if not is_present(dataset, "SharedFunctionalGroupsSequence"):
        return {}
    shared = item(dataset, "SharedFunctionalGroupsSequence") or Dataset()
    frames = items(dataset, "PerFrameFunctionalGroupsSequence") or [Dataset()]
    groups = [groups_of(frame, shared) for frame in frames]
    told = {name: {tidy(_first(group, places)) for group in groups} for name, places in ATTRIBUTES.items()}
    found = {name: values.pop() for name, values in told.items() if len(values) == 1}
    return found | {"contrast": _contrast(dataset, shared, frames)}


def _contrast(dataset: Dataset, shared: Dataset, frames: Sequence[Dataset]) -> str:
    agents = items(dataset, "ContrastBolusAgentSequence")
    if not agents:
        return ""
    given = {_is_given(items(one, USAGE) or items(shared, USAGE)) for one in frames}
    if len(given) > 1:
        return SOME_FRAMES
    return next(filter(None, (text(agent, "CodeMeaning") for agent in agents)), UNNAMED_AGENT) if True in given else ""


def _is_given(usages: Sequence[Dataset]) -> bool:
    """Whether a frame has an agent in it (PS3.3 C.7.6.16.2.12); one that says nothing has what the object speaks of."""
    return not usages or any(text(usage, "ContrastBolusAgentAdministered") != "NO" for usage in usages)


def _frame(file: SourceFile, dataset: Dataset, layout: PixelFormat, group: Group, index: int) -> Slice:
    measures = group("PixelMeasuresSequence")
    rescale = group("PixelValueTransformationSequence")
    converted = group(FOR_EACH)
    return Slice(
        file=file,
        frame=index,
        rows=layout.rows,
        columns=layout.columns,
        orientation=numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        position=numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        spacing=pixel_spacing(measures),
        thickness=positive(measures, "SliceThickness"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        stated_distance=stated_distance(measures),
        rescale=rescale_attributes(rescale if len(rescale) else dataset),
        meaning=tuple(text(rescale, name) or text(converted, name) or text(dataset, name) for name in MEANING),
        frame_type=_first(group, KEYS["ImageType"]),
        keys=_keys(group) if not len(converted) else keys_of(converted) | _keys(group),
        times=_times(group) if not len(converted) else times_of(converted) | _times(group),
        series=series_of(converted),
    )


def _keys(group: Group) -> dict[str, str]:
    told = {key: _first(group, places) for key, places in KEYS.items()}
    found = {key: tidy(value) if key in NUMBERS else value for key, value in told.items()}
    direction = item(group("MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    if direction is not None:
        found["DiffusionGradientOrientation"] = text(direction, "DiffusionGradientOrientation")
    return {key: value for key, value in found.items() if value}


def _times(group: Group) -> dict[str, str]:
    acquired = text(group("FrameContentSequence"), "FrameAcquisitionDateTime")
    return {"AcquisitionDateTime": acquired} if acquired else {}


def _first(group: Group, places: tuple[tuple[str, str], ...]) -> str:
    return next((value for sequence, keyword in places if (value := text(group(sequence), keyword))), "")
