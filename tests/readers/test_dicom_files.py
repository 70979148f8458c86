"""DICOM as files: without preamble, cut off, beside other objects, hostile, oddly named; every one accounted for."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import COMPANIONS, truncate, write_companion, write_dicomdir
from phantoms.dicom_series import Identity, expected_affine, make_voxels, set_text, without, write_series
from phantoms.readings import (
    assert_all_right,
    assert_refused,
    assert_reopens,
    assert_right,
    assert_right_or_refused,
    read_folder,
)
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.series import Discovery
from pipeline.errors import RejectedInput, UsageError
from pipeline.readers.discovery import discover, reopen
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

SHAPE = (6, 5, 5)
AFFINE = expected_affine()
TRUTH = make_voxels(SHAPE), AFFINE
PREAMBLE = 132


def by_name(discovery: Discovery) -> dict[str, Code]:
    """Code of each refused file, by its name."""
    return {refusal.file.path.name: refusal.code for refusal in discovery.refusals}


# the outer form of a file


def meta_length(content: bytes) -> int:
    """Bytes of the file meta information, with its group length element."""
    return 12 + int.from_bytes(content[PREAMBLE + 8 : PREAMBLE + 12], "little")


def bare(content: bytes) -> bytes:
    return content[PREAMBLE + meta_length(content) :]


@pytest.mark.parametrize("suffix", [".dcm", "", ".ima", ".nii"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.keyword)
def test_a_dataset_without_preamble_and_meta(tmp_path: Path, syntax: UID, suffix: str) -> None:
    for path in write_series(tmp_path, make_voxels(SHAPE), transfer_syntax=syntax):
        path.write_bytes(bare(path.read_bytes()))
        path.rename(path.with_suffix(suffix))
    assert_all_right(read_folder(tmp_path), [TRUTH])


def test_meta_information_without_preamble(tmp_path: Path) -> None:
    for path in write_series(tmp_path, make_voxels(SHAPE)):
        path.write_bytes(path.read_bytes()[PREAMBLE:])
    assert_all_right(read_folder(tmp_path), [TRUTH])


def test_a_preamble_without_meta_information(tmp_path: Path) -> None:
    for path in write_series(tmp_path, make_voxels(SHAPE)):
        content = path.read_bytes()
        path.write_bytes(content[:PREAMBLE] + bare(content))
    reading = read_folder(tmp_path)
    assert_right_or_refused(reading, [TRUTH], Code.BAD_HEADER, Code.NOT_SUPPORTED)


def test_a_preamble_that_is_a_tiff_header(tmp_path: Path) -> None:
    """Dual files of pathology and some archives: DICM at byte 128 decides."""
    for path in write_series(tmp_path, make_voxels(SHAPE)):
        path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert_all_right(read_folder(tmp_path), [TRUTH])


@pytest.mark.parametrize("suffix", ["", ".nii", ".png", ".txt", ".1"])
def test_content_decides_not_the_name(tmp_path: Path, suffix: str) -> None:
    for path in write_series(tmp_path, make_voxels(SHAPE)):
        path.rename(path.with_suffix(suffix))
    assert_all_right(read_folder(tmp_path), [TRUTH])


def test_bytes_after_the_last_element(tmp_path: Path) -> None:
    def trailing(dataset: Dataset, k: int) -> None:
        dataset.DataSetTrailingPadding = bytes(300)

    write_series(tmp_path, make_voxels(SHAPE), edit=trailing)
    assert_all_right(read_folder(tmp_path), [TRUTH])


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda uid: uid.keyword,
)
@pytest.mark.parametrize("k", [0, 2, 4], ids=["first", "middle", "last"])
def test_a_file_cut_off_takes_its_series_with_it(tmp_path: Path, syntax: UID, k: int) -> None:
    """Also where the first or last slice is cut: what is left looks whole and is not."""
    paths = write_series(tmp_path, make_voxels(SHAPE), transfer_syntax=syntax)
    other = make_voxels(SHAPE, seed=3)
    write_series(tmp_path, other, identity=Identity.numbered(2))
    truncate(paths[k], 17)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(other, AFFINE)])
    found = reading.codes - {Code.INCOMPLETE}
    assert found
    assert found <= {Code.TRUNCATED, Code.CORRUPT, Code.BAD_PIXELS}
    if not syntax.is_compressed:
        assert found == {Code.TRUNCATED}
    guilty = by_name(reading.discovery).get(paths[k].name)
    assert guilty in {None, Code.TRUNCATED, Code.CORRUPT, Code.BAD_PIXELS}
    for _, error in reading.rejected:
        assert Path(error.path).name == paths[k].name


def test_a_slice_cut_off_between_its_series_uid_and_its_pixels(tmp_path: Path) -> None:
    """Its header still says to which series it belongs: the other slices are no whole series."""
    path = write_series(tmp_path, make_voxels(SHAPE))[-1]
    content = path.read_bytes()
    uid = Identity().series_uid.encode()
    path.write_bytes(content[: content.index(uid + b"\0") + len(uid) + 61])
    assert_refused(read_folder(tmp_path), Code.TRUNCATED)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.keyword)
def test_a_compressed_file_cut_off(tmp_path: Path, syntax: UID) -> None:
    paths = write_series(tmp_path, make_voxels((33, 35, 3)), transfer_syntax=syntax)
    truncate(paths[1], 700)
    assert_refused(read_folder(tmp_path), Code.TRUNCATED, Code.CORRUPT, Code.BAD_PIXELS)


@pytest.mark.parametrize("size", [1, 131, 132, 133, 140, 200, 352, 400, 600])
def test_a_file_cut_off_in_its_header(tmp_path: Path, size: int) -> None:
    (path,) = write_series(tmp_path, make_voxels((6, 5, 1)))
    path.write_bytes(path.read_bytes()[:size])
    codes = Code.TRUNCATED, Code.BAD_HEADER, Code.CORRUPT, Code.NOT_AN_IMAGE
    reading = read_folder(tmp_path)
    assert_refused(reading, *codes)
    assert not reading.codes & SKIPS, "its name claims to be an image"


def test_an_enhanced_file_cut_off(tmp_path: Path) -> None:
    truncate(write_enhanced(tmp_path / "a.dcm", make_frames(make_voxels(SHAPE))), 31)
    assert_refused(read_folder(tmp_path), Code.TRUNCATED, Code.BAD_PIXELS)


def test_more_pixels_than_the_header_says(tmp_path: Path) -> None:
    def longer(dataset: Dataset, k: int) -> None:
        dataset.PixelData = dataset.PixelData + bytes(200)

    write_series(tmp_path, make_voxels(SHAPE), edit=longer)
    assert_right_or_refused(read_folder(tmp_path), [TRUTH], Code.BAD_PIXELS, Code.BAD_HEADER)


def test_what_claims_to_be_an_image_is_rejected_and_the_rest_skipped(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE))
    for name, content in {
        "empty.dcm": b"",
        "text.dcm": b"Please call 4711 if anything is missing.\n" * 20,
        "zeros.DCM": bytes(1000),
        "Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(2048),
        "notes.txt": b"hello",
        "empty": b"",
        ".DS_Store": bytes(64),
    }.items():
        (tmp_path / name).write_bytes(content)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [TRUTH])
    codes = by_name(reading.discovery)
    assert codes["empty.dcm"] is Code.TRUNCATED
    assert codes["text.dcm"] not in SKIPS
    assert codes["zeros.DCM"] not in SKIPS
    assert {codes[name] for name in ("Thumbs.db", "notes.txt", "empty", ".DS_Store")} == {Code.NOT_AN_IMAGE}


# objects that are no images


@pytest.mark.parametrize("kind", COMPANIONS)
@pytest.mark.parametrize("same_series", [False, True], ids=["own series", "same series"])
def test_companions_are_skipped(tmp_path: Path, kind: str, same_series: bool) -> None:
    write_series(tmp_path, make_voxels(SHAPE))
    path = write_companion(tmp_path / "companion.dcm", kind, same_series=same_series)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [TRUTH])
    assert by_name(reading.discovery)[path.name] is Code.NOT_AN_IMAGE
    assert reading.codes <= SKIPS


@pytest.mark.parametrize("referenced", [("..", "SECRET"), ("IM0",), ("LOOP", "LOOP")])
def test_a_dicomdir_is_counted_and_not_followed(tmp_path: Path, referenced: tuple[str, ...]) -> None:
    scans = tmp_path / "scans"
    write_series(tmp_path / "SECRET", make_voxels(SHAPE, seed=5), identity=Identity.numbered(5))
    write_series(scans, make_voxels(SHAPE))
    write_dicomdir(scans / "DICOMDIR", referenced)
    reading = read_folder(scans)
    assert_all_right(reading, [TRUTH])
    assert by_name(reading.discovery) == {"DICOMDIR": Code.DICOMDIR}


def test_a_dicomdir_of_another_name(tmp_path: Path) -> None:
    write_dicomdir(tmp_path / "DIRFILE")
    assert by_name(read_folder(tmp_path).discovery) == {"DIRFILE": Code.DICOMDIR}


# identifiers and names


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "", "1.2.3\\4.5", "1" * 70, "a b", "..", "CON"])
def test_a_series_uid_is_no_path(tmp_path: Path, uid: str) -> None:
    """Read or refused; nothing is written and nothing outside is opened."""

    def named(dataset: Dataset, k: int) -> None:
        dataset.SeriesInstanceUID = uid

    scans = tmp_path / "in" / "scans"
    write_series(scans, make_voxels(SHAPE), edit=named)
    before = digests(tmp_path)
    reading = read_folder(scans)
    assert_right_or_refused(reading, [TRUTH], Code.BAD_VALUE, Code.BAD_HEADER)
    assert digests(tmp_path) == before


def digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_series_without_uid_is_not_joined_with_others(tmp_path: Path) -> None:
    other = make_voxels(SHAPE, seed=2)
    for number, voxels in enumerate((TRUTH[0], other), start=1):
        folder = tmp_path / str(number)
        write_series(folder, voxels, identity=Identity.numbered(number), edit=without("SeriesInstanceUID"))
    codes = Code.BAD_HEADER, Code.BAD_VALUE
    assert_right_or_refused(read_folder(tmp_path), [TRUTH, (other, AFFINE)], *codes)


NAMES = {
    "ISO_IR 192": "Müller-Łukasz^Zoë",
    "ISO_IR 100": "Größe^Jürgen",
    "ISO_IR 144": "Люкceмбypг^Анна",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 138": "שרון^דבורה",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "GB18030": "Wang^XiaoDong=王^小东",
}


@pytest.mark.parametrize("charset", NAMES)
def test_names_in_every_script(tmp_path: Path, charset: str) -> None:
    def named(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = charset.split("\\")
        dataset.PatientName = NAMES[charset]

    folder = tmp_path / "Größe" / "مريض" / "患者 é"
    write_series(folder, make_voxels(SHAPE), edit=named)
    assert_all_right(read_folder(tmp_path), [TRUTH])


@pytest.mark.parametrize("charset", ["ISO_IR 999", "", "ISO_IR 192\\ISO 2022 IR 87\\rubbish"])
def test_a_character_set_that_nobody_knows(tmp_path: Path, charset: str) -> None:
    """Names may be garbled; the image is not."""
    content = "Größe".encode("latin-1")

    def named(dataset: Dataset, k: int) -> None:
        dataset.add_new("PatientName", "PN", content)
        dataset.SpecificCharacterSet = "ISO_IR 100"

    for path in write_series(tmp_path, make_voxels(SHAPE), edit=named):
        dataset = dcmread(path)
        dataset.PatientName = "Groesse"
        dataset.SpecificCharacterSet = charset.split("\\")
        dataset.save_as(path)
    assert_all_right(read_folder(tmp_path), [TRUTH])


@pytest.mark.parametrize(
    ("name", "born", "same"),
    [
        ("Phantom^One", "19630101", True),
        ("PHANTOM^ONE^^^", "19630101 ", True),
        ("Phantom^Two", "19630101", False),
        ("Phantom^One", "19640101", False),
    ],
)
def test_a_person_is_known_by_name_and_birth_date(tmp_path: Path, name: str, born: str, same: bool) -> None:
    write_series(tmp_path / "1", make_voxels(SHAPE), identity=Identity.numbered(1, patient_name="Phantom^One"))
    other = Identity.numbered(2, patient_name=name, birth_date=born)
    write_series(tmp_path / "2", make_voxels(SHAPE, seed=2), identity=other)
    persons = {series.identity.person for series, _ in read_folder(tmp_path).volumes}
    assert "" not in persons and (len(persons) == 1) is same


@pytest.mark.parametrize("missing", [{"patient_name": ""}, {"birth_date": ""}, {"patient_name": "^"}])
def test_a_person_without_name_or_birth_date_is_not_known(tmp_path: Path, missing: dict[str, str]) -> None:
    write_series(tmp_path, make_voxels(SHAPE), identity=Identity.numbered(1, **missing))
    ((series, _),) = read_folder(tmp_path).volumes
    assert series.identity.person == ""


def test_a_file_name_that_is_no_unicode(tmp_path: Path) -> None:
    for k, path in enumerate(write_series(tmp_path, make_voxels(SHAPE))):
        os.rename(os.fsencode(path), os.fsencode(tmp_path) + b"/\xff\xfe\xe9 " + str(k).encode())  # noqa: PTH104
    assert_all_right(read_folder(tmp_path), [TRUTH])


def test_an_identifier_with_spaces_and_control_characters(tmp_path: Path) -> None:
    identity = Identity(patient_id="=cmd|' /C calc'!A0", patient_name="<script>alert(1)</script>")
    write_series(tmp_path, make_voxels(SHAPE), identity=identity)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [TRUTH])
    assert reading.volumes[0][0].identity.patient_id == "=cmd|' /C calc'!A0"


# the file system


def test_links_pipes_and_unreadable_files(tmp_path: Path) -> None:
    scans, outside = tmp_path / "scans", tmp_path / "outside"
    paths = write_series(scans, make_voxels(SHAPE))
    away = write_series(outside, make_voxels(SHAPE, seed=7), identity=Identity.numbered(7))
    (scans / "loop").symlink_to("loop")
    (scans / "ping").symlink_to("pong")
    (scans / "pong").symlink_to("ping")
    (scans / "up").symlink_to("..")
    (scans / "self").symlink_to(".")
    (scans / "away.dcm").symlink_to(away[0])
    (scans / "away folder").symlink_to(outside)
    (scans / "dangling.dcm").symlink_to("nothing")
    (scans / "copy.dcm").symlink_to(paths[0])
    os.mkfifo(scans / "fifo.dcm")
    locked = scans / "locked.dcm"
    locked.write_bytes(away[1].read_bytes())
    locked.chmod(0)
    readable = os.access(locked, os.R_OK)
    reading = read_folder(scans)
    locked.chmod(0o600)
    codes = by_name(reading.discovery)
    refused = {"loop", "ping", "pong", "up", "self", "away.dcm", "away folder", "dangling.dcm", "fifo.dcm"}
    for name in refused if readable else refused | {"locked.dcm"}:
        assert codes[name] is Code.UNREADABLE, name
    assert codes["copy.dcm"] is Code.DUPLICATE
    rights = [volume for series, volume in reading.volumes if series.identity.patient_id == "PAT-0001"]
    assert len(rights) == 1
    assert_right(rights[0], TRUTH)


def test_a_file_that_changes_after_discovery(tmp_path: Path) -> None:
    paths = write_series(tmp_path, make_voxels(SHAPE))
    (series,) = discover(tmp_path, ReadOptions()).series
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 0xFF
    paths[2].write_bytes(bytes(content))
    for attempt in (
        lambda: read(series, ReadOptions()),
        lambda: reopen(series.reader, series.files, series.stack, ReadOptions()),
    ):
        with pytest.raises(RejectedInput) as caught:
            attempt()
        assert caught.value.code == Code.CHANGED
        assert Path(caught.value.path).name == paths[2].name


def test_a_file_that_is_gone_after_discovery(tmp_path: Path) -> None:
    paths = write_series(tmp_path, make_voxels(SHAPE))
    (series,) = discover(tmp_path, ReadOptions()).series
    paths[2].unlink()
    with pytest.raises(RejectedInput) as caught:
        read(series, ReadOptions())
    assert caught.value.code == Code.UNREADABLE


def test_a_series_larger_than_the_limit(tmp_path: Path) -> None:
    """The limit is on the decoded volume, of which no file alone is larger."""
    write_series(tmp_path, make_voxels((64, 64, 10)))
    decoded = 64 * 64 * 10 * 4
    assert_refused(read_folder(tmp_path, ReadOptions(max_bytes=decoded // 4)), Code.TOO_LARGE)
    assert len(read_folder(tmp_path, ReadOptions(max_bytes=decoded)).volumes) == 1


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """The law of conservation, the same order on every run, and scans left as they were."""
    truths = []
    for number in range(1, 4):
        truths.append((make_voxels(SHAPE, seed=number), AFFINE))
        write_series(tmp_path / f"{number}", truths[-1][0], identity=Identity.numbered(number))
    broken = write_series(tmp_path / "4", make_voxels(SHAPE), identity=Identity.numbered(4))
    broken[2].unlink()
    for kind in COMPANIONS:
        write_companion(tmp_path / "others" / kind, kind)
    write_dicomdir(tmp_path / "DICOMDIR")
    (tmp_path / "Thumbs.db").write_bytes(bytes(10))
    before = digests(tmp_path)
    reading = read_folder(tmp_path)
    assert_all_right(reading, truths)
    assert digests(tmp_path) == before
    assert len(reading.discovery.files) == len(before)
    again = discover(tmp_path, ReadOptions())
    assert again == reading.discovery
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert read_folder(tmp_path / "empty").discovery.files == ()
    with pytest.raises(UsageError):
        discover(tmp_path / "nowhere", ReadOptions())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError):
        discover(tmp_path / "file", ReadOptions())


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    """Four hundred damaged headers: each is read or refused with a code, none crashes the discovery."""
    (source,) = write_series(tmp_path / "source", make_voxels((6, 5, 1)))
    content = source.read_bytes()
    random = np.random.default_rng(17)
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(400):
        damaged = bytearray(content)
        for _ in range(1 + number % 3):
            damaged[random.integers(PREAMBLE, len(content) - 60)] ^= 1 << random.integers(8)
        (scans / f"{number:03d}.dcm").write_bytes(bytes(damaged))
    for series in discover(scans, ReadOptions()).series:
        try:
            read(series, ReadOptions())
        except RejectedInput as error:
            assert error.code in set(Code)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "PixelSpacing", "PhotometricInterpretation"])
def test_a_name_in_a_field_of_another_kind_is_not_repeated(tmp_path: Path, keyword: str) -> None:
    def confuse(dataset: Dataset, _: int) -> None:
        vr = "CS" if keyword.startswith("Photo") else "DS"
        set_text(dataset, tag_for_keyword(keyword) or 0, vr, "DOE^JANE 19600101")

    write_series(tmp_path, make_voxels((6, 5, 4)), edit=confuse)
    reading = read_folder(tmp_path)
    messages = [*reading.messages, *(error.message for _, error in reading.rejected)]
    assert any(keyword in message for message in messages)
    assert not any("DOE" in message or "1960" in message for message in messages)
