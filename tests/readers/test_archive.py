"""ZIP archives are read as folders, in place; what is wrong with one costs that archive, or that file of it."""

import warnings
import zipfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fuzzing.any_bytes import ANY
from phantoms.archives import set_directory_size, set_listed, write_link, write_zip, zip_folder
from phantoms.dicom_objects import write_dicomdir
from phantoms.dicom_series import Identity, expected_affine, make_voxels, write_series
from phantoms.exports import content_of
from phantoms.niftis import nifti, voxels, zipped
from phantoms.readings import assert_reopens, assert_right, is_right

from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.series import Discovery
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput, UsageError
from pipeline.readers import archive, discovery
from pipeline.readers.discovery import discover
from pipeline.readers.index import FolderIndex
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

STORED = make_voxels((6, 5, 4))
TRUTH = (STORED, expected_affine())
OPTIONS = ReadOptions(modality="MR")
SOUND = nifti(voxels((4, 3, 2)))


def look(root: Path) -> Discovery:
    return discover(root, OPTIONS)


def refused(root: Path) -> dict[str, str]:
    """Code of each refused file, by its path below the root."""
    return {one.file.relative: str(one.code) for one in look(root).refusals}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A CD: an index and a series in folders without suffixes."""
    made = tmp_path / "made"
    paths = write_series(made / "DICOM" / "ST1", STORED)
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"IM{number:04d}"))
    write_dicomdir(made / "DICOMDIR")
    scans = tmp_path / "scans"
    zip_folder(made, scans / "CD.ZIP")
    return scans


def test_a_series_in_an_archive(export: Path) -> None:
    before = content_of(export)
    found = look(export)
    (series,) = found.series
    assert_right(read(series, OPTIONS), TRUTH)
    assert_reopens(series, read(series, OPTIONS))
    assert [file.relative for file in series.files] == [f"CD.ZIP/DICOM/ST1/IM{n:04d}" for n in range(4)]
    assert all(file.path == export.resolve() / file.relative and len(file.sha256) == 64 for file in series.files)
    assert refused(export) == {"CD.ZIP/DICOMDIR": "DICOMDIR"}
    assert len(found.files) == 5
    assert content_of(export) == before, "something was written among the scans"


def test_the_scans_may_be_an_archive(export: Path) -> None:
    found = look(export / "CD.ZIP")
    assert_right(read(found.series[0], OPTIONS), TRUTH)
    assert {file.relative for file in found.files} == {"DICOMDIR", *(f"DICOM/ST1/IM{n:04d}" for n in range(4))}


def test_a_series_over_two_archives_and_a_folder(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "made", STORED)
    scans = tmp_path / "scans"
    for name, part in (("1.zip", paths[:1]), ("deep/2.zip", paths[1:3])):
        write_zip(scans / name, {path.name: path.read_bytes() for path in part})
    paths[3].rename(scans / "last.dcm")
    (series,) = look(scans).series
    assert_right(read(series, OPTIONS), TRUTH)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_format_in_an_archive(tmp_path: Path, method: int) -> None:
    files = {"a/b.nii": SOUND, "c.nii.gz": zipped(SOUND), "läsning/日本.nii": SOUND}
    write_zip(tmp_path / "x.zip", files, method=method)
    found = look(tmp_path)
    assert {series.key for series in found.series} == {f"x.zip/{name}" for name in files}
    for series in found.series:
        assert (read(series, OPTIONS).voxels[0] == voxels((4, 3, 2))).all()


def test_a_member_without_a_digest_is_given_one_by_its_content(export: Path) -> None:
    found = discover(export, OPTIONS, digests=False)
    assert_right(read(found.series[0], OPTIONS), TRUTH)


@pytest.mark.parametrize(
    "name", ["../out.nii", "/etc/out.nii", "a/../../out.nii", "a\\out.nii", "C:/out.nii", "a//out.nii", "./out.nii"]
)
def test_a_name_that_leads_out_is_refused_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    write_zip(tmp_path / "x.zip", {name: SOUND, "good.nii": SOUND})
    assert list(refused(tmp_path).values()) == ["UNREADABLE"]
    assert [series.key for series in look(tmp_path).series] == ["x.zip/good.nii"]


def test_two_files_under_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        for content in (SOUND, nifti(voxels((4, 3, 3)))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.writestr("a.nii", content)
        target.writestr("b.nii", SOUND)
    assert refused(tmp_path) == {"x.zip/a.nii": "BAD_HEADER"}
    assert len(look(tmp_path).series) == 1


def test_a_name_that_is_another_one_once_it_is_a_path(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a/b.nii": SOUND, "a//b.nii": nifti(voxels((4, 3, 3)))})
    assert set(refused(tmp_path)) == {"x.zip/a/b.nii"} and not look(tmp_path).series


def test_a_link(tmp_path: Path) -> None:
    write_link(write_zip(tmp_path / "x.zip", {"good.nii": SOUND}), "a.nii", "/etc/passwd")
    assert refused(tmp_path) == {"x.zip/a.nii": "UNREADABLE"}


def test_an_encrypted_member(tmp_path: Path) -> None:
    set_listed(write_zip(tmp_path / "x.zip", {"a.nii": SOUND, "good.nii": SOUND}), "a.nii", flags=1)
    (one,) = look(tmp_path).refusals
    assert one.code is Code.UNREADABLE and "encrypted" in one.message
    assert len(look(tmp_path).series) == 1


def test_an_archive_within(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "elsewhere" / "in.zip", {"a.nii": SOUND}).read_bytes()
    write_zip(tmp_path / "scans" / "x.zip", {"in.zip": inner, "b.zip": b"no archive", "good.nii": SOUND})
    assert refused(tmp_path / "scans") == {"x.zip/in.zip": "NOT_SUPPORTED", "x.zip/b.zip": "CORRUPT"}


def test_a_member_packed_by_an_unbounded_method(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.nii": SOUND}, method=zipfile.ZIP_LZMA)
    assert refused(tmp_path) == {"x.zip/a.nii": "NOT_SUPPORTED"}


def test_a_bomb_is_refused_and_a_blank_scan_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.JUDGED_FROM_BYTES >= 64 * 1024**2
    monkeypatch.setattr(archive, "JUDGED_FROM_BYTES", 1024**2)
    bomb = nifti(np.zeros((256, 256, 10), np.int16))
    write_zip(tmp_path / "x.zip", {"bomb.nii": bomb, "blank.nii": nifti(np.zeros((256, 256, 5), np.int16))})
    assert refused(tmp_path) == {"x.zip/bomb.nii": "TOO_LARGE"}
    assert read(look(tmp_path).series[0], OPTIONS).notes[0].startswith("CONSTANT")


def test_a_member_over_the_limit_of_a_file(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.nii": SOUND})
    found = discover(tmp_path, ReadOptions(modality="MR", max_bytes=100))
    assert [one.code for one in found.refusals] == [Code.TOO_LARGE]


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """The quine bomb: every entry of the list points to the one that inflates."""
    set_listed(write_zip(tmp_path / "x.zip", {"a.nii": SOUND, "b.nii": SOUND}), "b.nii", offset=0)
    assert refused(tmp_path) == {"x.zip": "CORRUPT"}


def test_an_archive_that_is_cut_off(export: Path) -> None:
    path = export / "CD.ZIP"
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(export) == {"CD.ZIP": "TRUNCATED"}


def test_a_list_of_members_beyond_all_measure(export: Path) -> None:
    set_directory_size(export / "CD.ZIP", 2**31)
    assert refused(export) == {"CD.ZIP": "TOO_LARGE"}


def test_too_many_members(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 4)
    assert refused(export) == {"CD.ZIP": "TOO_LARGE"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("slice_number", [0, 1])
def test_a_damaged_slice_costs_its_series_alone(tmp_path: Path, method: int, slice_number: int) -> None:
    """Also where it is the first slice, without which the others would pass for a whole volume."""
    damaged = write_series(tmp_path / "made", STORED)
    whole = write_series(tmp_path / "made", STORED, identity=Identity.numbered(2))
    files = {path.name: path.read_bytes() for path in damaged + whole}
    target = write_zip(tmp_path / "scans" / "x.zip", files, method=method)
    name = damaged[slice_number].name
    with zipfile.ZipFile(target) as packed:
        info = packed.getinfo(name)
    content = bytearray(target.read_bytes())
    content[info.header_offset + 30 + len(name) + info.compress_size - 3] ^= 0x10
    target.write_bytes(content)
    found = look(target.parent)
    codes = {str(one.code) for one in found.refusals}
    volumes = []
    for series in found.series:
        try:
            volumes.append(read(series, OPTIONS))
        except RejectedInput as error:
            codes.add(error.code)
            assert error.path == str(target.resolve() / name)
    assert "CORRUPT" in codes
    (volume,) = volumes
    assert_right(volume, TRUTH)


def test_an_office_document_is_passed_over(tmp_path: Path) -> None:
    write_zip(tmp_path / "letter.docx", {"word/document.xml": b"<w/>"})
    assert refused(tmp_path) == {"letter.docx": "NOT_AN_IMAGE"}


def test_backslashes_are_named_as_the_reason(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"CT\\1.nii": SOUND})
    (one,) = look(tmp_path).refusals
    assert "with backslashes" in one.message and "unpack it" in one.message and "leads out" not in one.message


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {})
    assert refused(tmp_path) == {"x.zip": "NOT_AN_IMAGE"}


def test_a_root_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(UsageError, match="no ZIP archive"):
        look(tmp_path / "a.zip")


def test_a_link_to_an_archive_outside_is_not_followed(tmp_path: Path) -> None:
    target = write_zip(tmp_path / "elsewhere" / "x.zip", {"a.nii": SOUND})
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "y.zip").symlink_to(target)
    assert refused(tmp_path / "scans") == {"y.zip": "UNREADABLE"}


def test_an_archive_that_changes_after_discovery(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.nii": SOUND})
    (series,) = look(tmp_path).series
    write_zip(path, {"a.nii": nifti(voxels((4, 3, 2)) + 1)})
    with pytest.raises(RejectedInput) as caught:
        read(series, OPTIONS)
    assert (caught.value.code, caught.value.path) == (Code.CHANGED, str(path / "a.nii"))
    write_zip(path, {"b.nii": SOUND})
    with pytest.raises(RejectedInput) as caught:
        read(series, OPTIONS)
    assert caught.value.code == Code.UNREADABLE


def test_the_index_knows_an_archive_and_notices_its_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "scans" / "x.zip", {"a.nii": SOUND})
    index = FolderIndex(tmp_path / "index", racy_ns=0)
    first = discover(path.parent, OPTIONS, index=index)
    with monkeypatch.context() as patch:
        patch.setattr(discovery, "beginnings", lambda *_, **__: pytest.fail("the files were looked at again"))
        assert discover(path.parent, OPTIONS, index=index) == first
    write_zip(path, {"a.nii": SOUND, "b.nii": SOUND})
    assert len(discover(path.parent, OPTIONS, index=index).series) == 2


def test_a_damaged_archive_is_refused_or_read_right(tmp_path: Path) -> None:
    """Each member has a checksum, so that no damage changes what is read: a slice may be lost, and is then refused."""
    made = zip_folder_of_series(tmp_path / "made")
    codes: set[str] = set()
    for number in range(150):
        random = Random(number)
        scans = tmp_path / "scans" / str(number)
        scans.mkdir(parents=True)
        (scans / "x.zip").write_bytes(random.choice(ANY)(made, random))
        found = look(scans)
        told = {str(one.code) for one in found.refusals}
        volumes = []
        for series in found.series:
            try:
                volumes.append(read(series, OPTIONS))
            except RejectedInput as error:
                told.add(error.code)
        for volume in volumes:
            assert is_right(volume, TRUTH) or (told - SKIPS and is_part(volume)), f"mutant {number}"
        codes |= told
    assert Code.INTERNAL not in codes
    assert {Code.CORRUPT, Code.TRUNCATED} <= codes


def is_part(volume: Volume) -> bool:
    """Whether a volume is some slices of the truth, evenly apart, each at its place."""
    for first in range(4):
        for step in (1, 2, 3):
            moved = np.diag([1.0, 1.0, step, 1.0])
            moved[2, 3] = first
            if is_right(volume, (STORED[..., first::step][..., : volume.geometry.shape[2]], TRUTH[1] @ moved)):
                return True
    return False


def test_a_list_that_skips_a_member(tmp_path: Path) -> None:
    """The comment of one entry may swallow the next: fewer are found than the end of the archive counts."""
    path = write_zip(tmp_path / "x.zip", {"a.nii": SOUND, "b.nii": SOUND, "c.nii": SOUND})
    set_listed(path, "a.nii", comment_bytes=46 + len("b.nii"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a.nii", "c.nii"]
    assert refused(tmp_path) == {"x.zip": "CORRUPT"}


def zip_folder_of_series(folder: Path) -> bytes:
    write_series(folder / "series", STORED)
    return zip_folder(folder / "series", folder / "x.zip").read_bytes()


def test_an_archive_behind_another_one_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_zip(tmp_path / f"{name}.zip", {f"{name}.nii": SOUND})
    joined = tmp_path / "scans" / "joined.zip"
    joined.parent.mkdir()
    joined.write_bytes((tmp_path / "one.zip").read_bytes() + (tmp_path / "two.zip").read_bytes())
    assert refused(joined.parent) == {"joined.zip": "CORRUPT"}


def test_a_link_gives_a_blob_of_a_store_its_name(tmp_path: Path) -> None:
    store = tmp_path / "scans" / "store"
    store.mkdir(parents=True)
    write_zip(tmp_path / "made.zip", {"one.nii": SOUND})
    (tmp_path / "made.zip").rename(store / "blob0001")
    (store.parent / "export.zip").symlink_to(store / "blob0001")
    assert [series.key for series in look(store.parent).series] == ["export.zip/one.nii"]
