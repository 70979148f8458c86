"""Every reason for which an input is skipped or rejected, in one enum, with what it means and what to do."""

from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """Why an input did not become (all of) a case. The value stands in the ``code`` column of our tables."""

    # skipped: nothing is wrong, the file is no part of a case
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    NOT_SELECTED = "NOT_SELECTED"
    DUPLICATE = "DUPLICATE"
    LOCALIZER = "LOCALIZER"
    DICOMDIR = "DICOMDIR"
    NO_LABEL = "NO_LABEL"
    # rejected: it claims to be an image and cannot be trusted
    NOT_SUPPORTED = "NOT_SUPPORTED"
    GAP = "GAP"
    SPACING = "SPACING"
    MATRIX = "MATRIX"
    TILT = "TILT"
    AMBIGUOUS = "AMBIGUOUS"
    MIXED = "MIXED"
    NO_GEOMETRY = "NO_GEOMETRY"
    NO_SPACING = "NO_SPACING"
    BAD_VALUE = "BAD_VALUE"
    BAD_HEADER = "BAD_HEADER"
    BAD_PIXELS = "BAD_PIXELS"
    MOSAIC = "MOSAIC"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    NO_CODEC = "NO_CODEC"
    CONSTANT = "CONSTANT"
    NO_SUV = "NO_SUV"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    CODEC_CRASH = "CODEC_CRASH"
    TIMEOUT = "TIMEOUT"
    UNREADABLE = "UNREADABLE"
    CHANGED = "CHANGED"
    NOT_3D = "NOT_3D"
    NOT_REAL = "NOT_REAL"
    NOT_FINITE = "NOT_FINITE"
    SHEAR = "SHEAR"
    INCOMPLETE = "INCOMPLETE"
    AMBIGUOUS_SERIES = "AMBIGUOUS_SERIES"
    MISSING_SERIES = "MISSING_SERIES"
    AMBIGUOUS_LABEL = "AMBIGUOUS_LABEL"
    NO_MODALITY = "NO_MODALITY"
    DOES_NOT_FIT = "DOES_NOT_FIT"
    BURNED_IN = "BURNED_IN"
    CROSS_CHECK = "CROSS_CHECK"
    # rejected, and not its fault
    INTERNAL = "INTERNAL"


class Explanation(NamedTuple):
    """What ``resdx info CODE`` prints."""

    meaning: str
    remedy: str


SKIPS = frozenset({Code.NOT_AN_IMAGE, Code.NOT_SELECTED, Code.DUPLICATE, Code.LOCALIZER, Code.DICOMDIR, Code.NO_LABEL})
"""Codes of files that are skipped; all others are rejections and make the command exit with 3."""

EXPLANATIONS: dict[Code, Explanation] = {
    Code.NOT_AN_IMAGE: Explanation(
        "The file is no image and does not claim to be one: a report, presentation state, key object, text; or it is a "
        "page that was saved at a console, such as the dose report of a CT.",
        "Nothing: it is counted and left alone.",
    ),
    Code.NOT_SELECTED: Explanation(
        "The selection rules leave this series out, or choose another one of the same study.",
        "Change `select` in the ingest configuration if this series is the one you want.",
    ),
    Code.DUPLICATE: Explanation(
        "The same image is present more than once: place, attributes and pixels are equal; one copy is used.",
        "Nothing, or clean up the export.",
    ),
    Code.LOCALIZER: Explanation(
        "A scout or localizer image; it shares a series with the slices of another orientation, or says so itself.",
        "Nothing: the remaining slices are used.",
    ),
    Code.DICOMDIR: Explanation(
        "The index of a DICOM medium. Files are found by their content, the index is not followed.", "Nothing."
    ),
    Code.NO_LABEL: Explanation(
        "No row of the label file belongs to this scan.", "Add a row, or map the column that identifies the scan."
    ),
    Code.NOT_SUPPORTED: Explanation(
        "The file is valid but of a kind that is not read yet, and reading it wrong is worse.",
        "Convert it, or export the series in a supported form.",
    ),
    Code.GAP: Explanation(
        "A slice is missing: one distance between neighbours is a whole multiple of the others, or all are of the one "
        "that SpacingBetweenSlices states.",
        "Export the series again, complete, or have the gap interpolated: `read.mend.spacing`.",
    ),
    Code.SPACING: Explanation(
        "The distance between slices varies, so no single spacing describes the volume.",
        "Export a reconstruction with even spacing, or have it resampled: `read.mend.spacing`. Two blocks of slices "
        "in one series are split by a key that tells them: `read.split_by`.",
    ),
    Code.MATRIX: Explanation(
        "Slices of one series differ in rows, columns, pixel spacing or orientation.",
        "Export the parts as separate series, or have them split: `read.split_by`.",
    ),
    Code.TILT: Explanation(
        "The gantry was tilted: slices are shifted against their normal, voxels are no cuboids.",
        "Export an untilted reconstruction, or have it resampled: `read.mend.tilt`.",
    ),
    Code.AMBIGUOUS: Explanation(
        "Several different images lie at one position and no tag tells them apart.",
        "Export the parts (phases, echoes) as separate series, or name a key that tells them: `read.split_by`.",
    ),
    Code.MIXED: Explanation(
        "Slices of one volume are of different kinds: another echo, b-value, kernel, unit, modality.",
        "Export the parts as separate series, or name a key that tells them: `read.split_by`.",
    ),
    Code.NO_GEOMETRY: Explanation(
        "Position or orientation of the slices is missing, so the volume cannot be placed in the patient.",
        "Export the original images rather than screenshots or secondary captures.",
    ),
    Code.NO_SPACING: Explanation(
        "Pixel spacing is missing. Nothing is assumed in its place.", "Export the original images."
    ),
    Code.BAD_VALUE: Explanation(
        "A header value that geometry or intensity rests on is malformed, zero or not finite.",
        "Ask the sender to correct the header; the message names the attribute.",
    ),
    Code.BAD_HEADER: Explanation("The header contradicts itself or the file.", "Export the file again."),
    Code.BAD_PIXELS: Explanation(
        "The decoded pixels contradict the header (size, depth, colours, number of frames).", "Export the file again."
    ),
    Code.MOSAIC: Explanation(
        "A mosaic: many slices tiled into one image (Siemens, UIH).", "Export as enhanced multi-frame or NIfTI."
    ),
    Code.TOO_FEW_SLICES: Explanation(
        "Fewer than three slices, where a volume is needed.", "Select another series, or plan in 2D."
    ),
    Code.NO_CODEC: Explanation(
        "The transfer syntax needs a decoder that is not installed; the message names it.",
        "Install the named package, or export uncompressed.",
    ),
    Code.CONSTANT: Explanation("Every pixel has the same value.", "Check the export; the image is blank."),
    Code.NO_SUV: Explanation(
        "SUV was asked for (`read.suv`) and what it takes is missing from the header, or cannot be meant.",
        "Export with all PET tags (the message names the one), or read the unit of the scanner.",
    ),
    Code.TRUNCATED: Explanation("The file ends before its data does.", "Copy or export the file again."),
    Code.CORRUPT: Explanation("The content is damaged: a checksum or a decoder refuses it.", "Copy the file again."),
    Code.TOO_LARGE: Explanation(
        "The header claims more pixels than the limit allows, or reading needed more memory than a worker may take.",
        "Check the file. If it is genuine, raise `read.max_bytes`, or take fewer `processes` or more `memory_bytes`.",
    ),
    Code.TOO_DEEP: Explanation("Sequences are nested deeper than any real file.", "Check where the file came from."),
    Code.CODEC_CRASH: Explanation("The decoder crashed on this file; only its case is lost.", "Export it again."),
    Code.TIMEOUT: Explanation(
        "Reading and preparing it took longer than the limit.",
        "Check the size of the image and the disk, then run again.",
    ),
    Code.UNREADABLE: Explanation(
        "The operating system does not let us read it; or it lies in an archive encrypted, as a link, or under a path "
        "that leads out or is written with backslashes.",
        "Check permissions and the mount; unpack the archive.",
    ),
    Code.CHANGED: Explanation(
        "The file is not the one that was found: its sha256 differs.",
        "Run the command again once nothing writes there; after `resdx ingest`, ingest again.",
    ),
    Code.NOT_3D: Explanation("The file holds a time series or more, not one volume.", "Extract the volume you mean."),
    Code.NOT_REAL: Explanation("Voxels are complex numbers.", "Write magnitude (or phase) as real numbers."),
    Code.NOT_FINITE: Explanation("Voxels hold NaN or infinity.", "Mask or replace them before the export."),
    Code.SHEAR: Explanation(
        "The affine shears the volume; voxels are no cuboids.",
        "Resample it to a straight grid, or have it done: `read.mend.tilt`.",
    ),
    Code.INCOMPLETE: Explanation(
        "Another file of the same series was refused, so this one cannot be used.",
        "Follow the remedy of that file; the message names its code.",
    ),
    Code.AMBIGUOUS_SERIES: Explanation(
        "Several series of one study remain after the selection rules, and none is the obvious one.",
        "Say which with `select`: the message lists them.",
    ),
    Code.MISSING_SERIES: Explanation(
        "A case is several series of a study, one a channel, and the study has none for a channel.",
        "Widen the rules of that channel in `select.channels`, or let it be empty with `select.missing: empty`.",
    ),
    Code.AMBIGUOUS_LABEL: Explanation(
        "One row of labels matches several studies (or several rows match one).",
        "Name the study, or give `labels.date_rule`. NIfTI files and pictures are studies of their own: give the path "
        "of each, or choose among those of a folder with `select.path`.",
    ),
    Code.NO_MODALITY: Explanation(
        "NIfTI files and pictures do not say their modality.",
        "Give `--modality CT` (or MR, ...), or a modality column in the label file.",
    ),
    Code.DOES_NOT_FIT: Explanation(
        "The scan cannot be prepared for this model: other modality, dimension or number of channels.",
        "Select another series, or use a model that was trained on such scans.",
    ),
    Code.BURNED_IN: Explanation(
        "Left out of the de-identified copy alone: a name may be part of the picture (ultrasound, a capture, a "
        "photograph, or BurnedInAnnotation is YES). The case itself is used.",
        "Blank the text with a tool for that, or look at the images and set `deidentified_copy.allow_burned_in`.",
    ),
    Code.CROSS_CHECK: Explanation(
        "An independent reader (`cross_check`) sees other voxels or another place of them than ours: one of the two is "
        "wrong, and which one is not known.",
        "Look at the series in a viewer of the hospital; report it, so that the reader that is wrong is corrected. To "
        "use the series as we read it, ingest without the cross-check.",
    ),
    Code.INTERNAL: Explanation(
        "An error of ours, not of the file: something that we did not foresee. Only its case is lost.",
        "Run again with `resdx --debug`, and report what it shows.",
    ),
}
"""Meaning and remedy of every code."""
