"""DICOM: which files make one volume, and where it lies."""

from phantoms.dicom_series import CORONAL, SAGITTAL, without

from oddities.row import Oddity, Phantom
from oddities.series import (
    ABOVE,
    EVEN,
    HALF_WAY,
    OBLIQUE,
    POSITION,
    at,
    breasts,
    clip,
    copied,
    enhanced,
    jitter,
    mosaic,
    moved_patient,
    odd_spacing,
    over_folders,
    radiograph,
    raw,
    refused,
    series,
    setting,
    two,
    two_series,
    two_sizes,
    with_localizer,
)
from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions

GROUPING, GEOMETRY, MULTIFRAME = (
    "readers/test_dicom_grouping.py",
    "readers/test_dicom_geometry.py",
    "readers/test_dicom_multiframe.py",
)
DENSITY, MENDING = "readers/test_dicom_density.py", "readers/test_mending.py"

ROWS = (
    Oddity(
        "InstanceNumber in no order, or absent",
        "right: sorted by position",
        (
            Phantom("shuffled", series(instance_numbers=[5, 2, 1, 6, 3, 4])),
            Phantom("absent on all", series(instance_numbers=[None] * 6)),
            Phantom("absent on one", series(instance_numbers=[1, 2, None, 4, 5, 6])),
            Phantom("against the positions", series(instance_numbers=[6, 5, 4, 3, 2, 1])),
        ),
        (f"{GEOMETRY}::test_slices_are_sorted_by_position_not_by_instance_number",),
    ),
    Oddity(
        "a slice missing",
        "GAP",
        (
            Phantom("a middle one", refused(series(drop=[3])), (Code.GAP,)),
            Phantom(
                "every second",
                refused(series(drop=slice(1, None, 2), edit=setting(SpacingBetweenSlices="2.5"))),
                (Code.GAP,),
            ),
        ),
        (f"{GEOMETRY}::test_a_missing_slice_is_a_gap", f"{DENSITY}::test_slices_missing_throughout_are_a_gap"),
    ),
    Oddity(
        "the same instance twice",
        "right, the copy skipped",
        (
            Phantom("copied files", copied, (Code.DUPLICATE,)),
            Phantom("a multi-frame file under another UID", enhanced({}, copies=2), (Code.DUPLICATE,)),
        ),
        (
            f"{GROUPING}::test_the_same_instances_twice",
            f"{DENSITY}::test_a_multiframe_file_under_another_instance_is_a_copy",
        ),
    ),
    Oddity(
        "two images at one position",
        "split by what differs, else AMBIGUOUS",
        (
            Phantom("echoes", two(setting(EchoTime="4.6"), setting(EchoTime="9.2"))),
            Phantom("phases", two(setting(TemporalPositionIdentifier=1), setting(TemporalPositionIdentifier=2))),
            Phantom("b-values", two(setting(DiffusionBValue=0.0), setting(DiffusionBValue=800.0))),
            Phantom(
                "kernels", two(setting(ConvolutionKernel="B30f"), setting(ConvolutionKernel="B70f"), modality="CT")
            ),
            Phantom("times", two(setting(AcquisitionTime="101500"), setting(AcquisitionTime="102500"))),
            Phantom(
                "passes half way between each other",
                two(setting(AcquisitionNumber=1), setting(AcquisitionNumber=2), positions=(POSITION, HALF_WAY)),
            ),
            Phantom("nothing differs", refused(two(setting(), setting())), (Code.AMBIGUOUS,)),
        ),
        (
            f"{GROUPING}::test_two_pixel_sets_at_one_position_are_split_by_the_tag_that_differs",
            f"{DENSITY}::test_passes_half_way_between_each_other_are_two_volumes",
        ),
    ),
    Oddity(
        "two series in a folder, one series over many",
        "two cases, one case",
        (Phantom("two in one", two_series), Phantom("one over three", over_folders)),
        (f"{GROUPING}::test_two_series_in_a_folder_and_one_series_over_folders",),
    ),
    Oddity(
        "a localizer within the series",
        "right, the localizer skipped",
        (Phantom("two slices across", with_localizer, (Code.LOCALIZER,)),),
        (f"{GROUPING}::test_a_localizer_in_the_series_is_skipped",),
    ),
    Oddity(
        "gantry tilt",
        "TILT, or resampled when asked",
        (Phantom("18 degrees", refused(series(edit=at(EVEN, 0.325))), (Code.TILT,)),),
        (
            f"{GEOMETRY}::test_a_tilted_gantry",
            f"{MENDING}::test_a_tilt_is_resampled_to_a_grid_that_holds_every_slice",
        ),
    ),
    Oddity(
        "variable spacing, one odd spacing, one odd matrix",
        "SPACING, MATRIX, or split or resampled when asked",
        (
            Phantom("variable", refused(series(edit=at([0, 2, 4.1, 6.3, 8.6, 11]))), (Code.SPACING,)),
            Phantom("one odd distance", refused(series(edit=at([0, 2.5, 5, 9, 11.5, 14]))), (Code.SPACING,)),
            Phantom("one odd pixel spacing", refused(series(edit=odd_spacing)), (Code.MATRIX,)),
            Phantom("two sizes", refused(two_sizes), (Code.MATRIX, Code.AMBIGUOUS)),
            Phantom("two sizes, split", two_sizes, options=ReadOptions(split_by=("Columns",)), note="SPLIT"),
        ),
        (
            f"{MENDING}::test_uneven_slices_are_interpolated_to_the_smallest_distance",
            f"{DENSITY}::test_a_series_is_split_by_a_named_key",
        ),
    ),
    Oddity(
        "no position and orientation",
        "NO_GEOMETRY for a volume, fine for an image",
        (
            Phantom(
                "CT",
                refused(series(edit=without("ImagePositionPatient", "ImageOrientationPatient"))),
                (Code.NO_GEOMETRY,),
            ),
            Phantom("radiograph", radiograph),
        ),
        (f"{GEOMETRY}::test_what_is_missing_is_not_made_up",),
    ),
    Oddity(
        "no PixelSpacing, decimals with a comma",
        "NO_SPACING, BAD_VALUE",
        (
            Phantom("none", refused(series(edit=without("PixelSpacing"))), (Code.NO_SPACING,)),
            Phantom("commas", refused(series(edit=raw(0x00280030, "0,75\\1,25"))), (Code.BAD_VALUE,)),
        ),
        (f"{GEOMETRY}::test_values_that_geometry_cannot_rest_on",),
    ),
    Oddity(
        "orientation jitter, long decimals",
        "right",
        (Phantom("2e-6, 20 characters", series(orientation=OBLIQUE, edit=jitter)),),
        (f"{GEOMETRY}::test_orientation_jitter_and_long_decimals",),
    ),
    Oddity(
        "NaN, zero, slanted or boundless numbers",
        "BAD_VALUE",
        (
            Phantom("NaN", refused(series(edit=raw(0x00200037, "nan\\0\\0\\0\\1\\0"))), (Code.BAD_VALUE,)),
            Phantom("zero", refused(series(edit=raw(0x00200037, "0\\0\\0\\0\\0\\0"))), (Code.BAD_VALUE,)),
            Phantom("no right angle", refused(series(edit=raw(0x00200037, "1\\0\\0\\.6\\.8\\0"))), (Code.BAD_VALUE,)),
            Phantom("1e30 mm away", refused(series(edit=raw(0x00200032, "0\\0\\1e30", 3))), (Code.BAD_VALUE,)),
            Phantom("overflow", refused(series(edit=raw(0x00200032, "0\\0\\1e999", 3))), (Code.BAD_VALUE,)),
        ),
        (
            f"{GEOMETRY}::test_values_that_geometry_cannot_rest_on",
            f"{DENSITY}::test_numbers_without_measure_are_refused",
        ),
    ),
    Oddity(
        "no FrameOfReferenceUID, several in a series",
        "right with a note, split",
        (
            Phantom("none", series(edit=without("FrameOfReferenceUID")), note="FrameOfReferenceUID is missing"),
            Phantom("two", moved_patient),
        ),
        (f"{GROUPING}::test_several_frames_of_reference_are_split",),
    ),
    Oddity(
        "sagittal, coronal, oblique, feet first, decubitus",
        "right",
        (
            Phantom("sagittal", series(orientation=SAGITTAL)),
            Phantom("coronal", series(orientation=CORONAL)),
            Phantom("oblique", series(orientation=OBLIQUE)),
            Phantom("feet first", series(orientation=((-1, 0, 0), (0, 1, 0)), edit=setting(PatientPosition="FFS"))),
            Phantom("decubitus", series(orientation=((0, -1, 0), (1, 0, 0)), edit=setting(PatientPosition="HFDR"))),
        ),
        (f"{GEOMETRY}::test_every_orientation", f"{GEOMETRY}::test_a_landmark_lands_where_it_was_put"),
    ),
    Oddity(
        "enhanced multi-frame, 4D enhanced",
        "right, split",
        (
            Phantom("MR, frames in no order", enhanced({})),
            Phantom("CT, oblique", enhanced({"orientation": OBLIQUE}, modality="CT")),
            Phantom("echoes", enhanced({"echo_time": 4.6}, {"echo_time": 9.2})),
            Phantom("time points", enhanced({"temporal": 1}, {"temporal": 2})),
            Phantom("stacks that adjoin", enhanced({"stack": "A"}, {"stack": "B", "position": ABOVE})),
            Phantom("stacks across", enhanced({"stack": "A"}, {"stack": "B", "orientation": CORONAL})),
        ),
        (f"{MULTIFRAME}::test_enhanced_4d_is_split", f"{DENSITY}::test_stacks_of_one_file_are_never_glued"),
    ),
    Oddity(
        "Siemens mosaic, UIH grid",
        "MOSAIC",
        (
            Phantom("Siemens", mosaic("ND", "MOSAIC"), (Code.MOSAIC,), is_volume=True),
            Phantom("UIH", mosaic("VFRAME"), (Code.MOSAIC,), is_volume=True),
        ),
        (f"{MULTIFRAME}::test_a_siemens_mosaic", f"{MULTIFRAME}::test_a_uih_grid"),
    ),
    Oddity(
        "fewer than three slices for a volume",
        "TOO_FEW_SLICES when it is prepared in 3D",
        (),
        ("preprocessing/test_transforms.py::test_refuses_what_does_not_fit",),
    ),
    Oddity(
        "mammography views, ultrasound clip",
        "kept apart as covariates; frames are never slices",
        (Phantom("four views", breasts), Phantom("a clip", clip, (Code.NOT_SUPPORTED,))),
        (
            "readers/test_dicom_planar.py::test_views_of_one_mammography_series_are_images_of_their_own",
            "stages/test_ingest.py::test_mammograms_are_a_case_a_side",
            f"{MULTIFRAME}::test_an_ultrasound_cine_is_never_a_volume",
        ),
    ),
)
