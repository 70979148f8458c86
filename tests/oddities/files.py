"""DICOM: files that are damaged, in disguise, or meant to do harm."""

import os
from collections.abc import Callable
from pathlib import Path

from phantoms.dicom_objects import truncate, write_companion, write_dicomdir
from phantoms.dicom_series import Identity
from phantoms.readings import Truth
from pydicom.dataset import Dataset

from oddities.row import Oddity, Phantom, Write
from oddities.series import AFFINE, VOXELS, refused, series, setting, write
from pipeline.domain.codes import Code


def touched(touch: Callable[[Path, list[Path]], object]) -> Write:
    """A series whose folder is changed afterwards; its volume is right all the same."""

    def writing(folder: Path) -> list[Truth]:
        touch(folder, write(folder))
        return [(VOXELS, AFFINE)]

    return writing


def bare(folder: Path, paths: list[Path]) -> None:
    """Leave away the preamble and the file meta information."""
    for path in paths:
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + length :])


def no_preamble(folder: Path, paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[132:])


def companions(folder: Path, paths: list[Path]) -> None:
    for kind in ("SR", "PR", "KO", "SEG", "RTSTRUCT"):
        write_companion(folder / kind, kind, same_series=kind == "KO")
    write_dicomdir(folder / "DICOMDIR")


def strangers(folder: Path, paths: list[Path]) -> None:
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 thumbs")
    (folder / "notes.txt").write_text("nothing to see")
    (folder / f"._{paths[0].name}").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(4072))


def pretenders(folder: Path, paths: list[Path]) -> None:
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "report.dcm").write_text("this is a report")


def links(folder: Path, paths: list[Path]) -> None:
    (folder / "around").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")


def huge(dataset: Dataset, k: int) -> None:
    dataset.Rows = dataset.Columns = 60000


ARABIC = Identity(patient_name="\u0645\u0631\u064a\u0636^\u0623\u0648\u0644")
FILES, BOMBS, WORKERS = "readers/test_dicom_files.py", "readers/test_dicom_bombs.py", "test_workers.py"

ROWS = (
    Oddity(
        "no preamble, no file meta information",
        "right",
        (Phantom("no preamble", touched(no_preamble)), Phantom("neither", touched(bare))),
        (f"{FILES}::test_a_dataset_without_preamble_and_meta",),
    ),
    Oddity(
        "truncated, empty, Thumbs.db, text named .dcm",
        "TRUNCATED; what claims to be an image is rejected, the rest skipped",
        (
            Phantom("cut off", refused(touched(lambda folder, paths: truncate(paths[2], 20))), (Code.TRUNCATED,)),
            Phantom("strangers", touched(strangers), (Code.NOT_AN_IMAGE,)),
            Phantom("pretenders", touched(pretenders), (Code.TRUNCATED, Code.BAD_HEADER)),
        ),
        (f"{FILES}::test_what_claims_to_be_an_image_is_rejected_and_the_rest_skipped",),
    ),
    Oddity(
        "SR, PR, KO, SEG, RTSTRUCT, DICOMDIR among the images",
        "skipped and counted, never followed",
        (Phantom("all of them", touched(companions), (Code.NOT_AN_IMAGE, Code.DICOMDIR)),),
        (f"{FILES}::test_companions_are_skipped", f"{FILES}::test_a_dicomdir_is_counted_and_not_followed"),
    ),
    Oddity(
        "60000 x 60000, a deflate bomb, nested sequences",
        "TOO_LARGE, TOO_DEEP, without their memory",
        (Phantom("60000 x 60000", refused(series(edit=huge)), (Code.TOO_LARGE,)),),
        (f"{BOMBS}::test_a_bomb_is_refused_without_its_memory", f"{BOMBS}::test_the_cap_is_real"),
    ),
    Oddity(
        "a decoder that crashes or hangs",
        "CODEC_CRASH, TIMEOUT, for that case only",
        (),
        (f"{WORKERS}::test_a_crash_costs_its_item_only", f"{WORKERS}::test_a_hang_is_ended"),
    ),
    Oddity(
        "names in any script, right to left",
        "right",
        (
            Phantom("Arabic name", series(identity=ARABIC)),
            Phantom(
                "Hebrew and Japanese folders",
                lambda folder: series()(folder / "\u05d1\u05d3\u05d9\u05e7\u05d4" / "\u691c\u67fb"),
            ),
        ),
        (f"{FILES}::test_names_in_every_script", f"{FILES}::test_a_file_name_that_is_no_unicode"),
    ),
    Oddity(
        "UID ../../x, links, a pipe, an unreadable or changing file",
        "never leaves the folder; UNREADABLE, CHANGED",
        (
            Phantom("UID ../../x", series(edit=setting(SeriesInstanceUID="../../x"))),
            Phantom("links in circles, a pipe", touched(links), (Code.UNREADABLE,)),
        ),
        (
            f"{FILES}::test_a_series_uid_is_no_path",
            f"{FILES}::test_links_pipes_and_unreadable_files",
            f"{FILES}::test_a_file_that_changes_after_discovery",
            "readers/test_discovery.py::test_a_file_that_grows_while_it_is_read_is_refused",
        ),
    ),
)
