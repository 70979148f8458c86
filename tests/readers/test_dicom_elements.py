"""Plain headers found in the bytes are, element by element and verdict by verdict, those that pydicom finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import make_item, make_voxels, write_series
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.domain.series import SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.dicom import content as dicom_content
from pipeline.readers.dicom import elements, header, templates
from pipeline.readers.dicom.content import looks_like_dicom, read_header
from pipeline.readers.dicom.elements import element_of, numbers_of_tags, plain_header
from pipeline.readers.dicom.values import text
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HeaderCutError

OPTIONS = ReadOptions()
SHIPPED = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def nested(dataset: Dataset, _: int) -> None:
    """Sequences in sequences, empty values, a private block and text that needs its character set."""
    dataset.SpecificCharacterSet = "ISO_IR 144"
    dataset.InstitutionName = "Больница"
    dataset.SliceThickness = None
    inner = make_item(CodeValue="1", CodeMeaning="Голова")
    dataset.ProcedureCodeSequence = [make_item(CodeValue="2", PurposeOfReferenceCodeSequence=[inner]), make_item()]
    dataset.ReferencedImageSequence = []
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", ["1000000700", "8", "0", "0"])
    dataset.ProcedureCodeSequence[0].is_undefined_length_sequence_item = True
    dataset["ProcedureCodeSequence"].is_undefined_length = True


@pytest.fixture(params=SYNTAXES, ids=["explicit", "implicit"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> list[bytes]:
    """A slice with much in its header, and an enhanced multi-frame file."""
    (one,) = write_series(tmp_path / "one", make_voxels((8, 6, 1)), transfer_syntax=request.param, edit=nested)
    many = write_enhanced(tmp_path / "many.dcm", make_frames(make_voxels((8, 6, 4))), transfer_syntax=request.param)
    return [one.read_bytes(), many.read_bytes()]


def by_pydicom(content: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, int]:
    with monkeypatch.context() as patch:
        patch.setattr(dicom_content, "plain_header", lambda *_: None)
        return read_header(content)


def verdict(content: bytes) -> Any:
    """What is kept of a header, or why there is none, with faults that compare."""
    try:
        found = header.read(SourceFile(Path("/file"), "file", len(content)), content, OPTIONS)
    except RejectedInput as error:
        return error.code, error.message
    fault = found.fault and (found.fault.code, found.fault.message)
    return {name: getattr(found, name) for name in found.__slots__} | {"fault": fault}


def assert_same(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = plain_header(content, len(content))
    assert plain is not None
    dataset, offset = by_pydicom(content, monkeypatch)
    assert plain[1] == offset
    assert list(plain[0].keys()) == list(dataset.keys())
    for element in dataset:
        assert plain[0][element.tag] == element
    with monkeypatch.context() as patch:
        patch.setattr(dicom_content, "plain_header", lambda *_: None)
        expected = verdict(content)
    assert verdict(content) == expected


def test_every_element_is_the_one_that_pydicom_finds(files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for content in files:
        assert_same(content, monkeypatch)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_get_the_verdict_that_pydicom_gives_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    found = verdict(content)
    with monkeypatch.context() as patch:
        patch.setattr(dicom_content, "plain_header", lambda *_: None)
        assert verdict(content) == found
    if plain_header(content, len(content)):
        assert_same(content, monkeypatch)


def test_most_shipped_files_are_plain() -> None:
    contents = [path.read_bytes() for path in SHIPPED]
    plain = [plain_header(content, len(content)) is not None for content in contents]
    assert sum(plain) > 0.6 * len(plain)


@pytest.mark.shared_data
def test_real_files_are_plain_and_read_as_by_pydicom(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    for folder in sorted((shared_data / "dicom_series").iterdir()):
        for path in sorted(path for path in folder.glob("In/**/*") if path.is_file())[:6]:
            content = path.read_bytes()
            if looks_like_dicom(content) and plain_header(content, len(content)):
                assert_same(content, monkeypatch)
                count += 1
    assert count > 40


def beginnings(content: bytes, step: int) -> Iterator[bytes]:
    return (content[:length] for length in range(200, len(content), step))


def test_a_beginning_gives_the_header_or_asks_for_more(files: list[bytes]) -> None:
    for content in files:
        whole, offset = read_header(content, len(content))
        answers = set()
        for beginning in beginnings(content, 7):
            try:
                dataset, place = read_header(beginning, len(content))
            except HeaderCutError:
                answers.add("more")
                assert len(beginning) <= offset + 12
                continue
            answers.add("told")
            assert place == offset
            assert set(numbers_of_tags(dataset)) == set(numbers_of_tags(whole))
        assert answers == {"more", "told"}


def test_damaged_headers_get_the_verdict_that_pydicom_gives_them(
    files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    differing = 0
    for content in files:
        end = read_header(content)[1] + 12
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(132, end, 2):
                damaged[place] ^= 1 << rng.integers(8)
            found = verdict(bytes(damaged))
            with monkeypatch.context() as patch:
                patch.setattr(dicom_content, "plain_header", lambda *_: None)
                differing += verdict(bytes(damaged)) != found
    assert differing == 0


def test_elements_can_be_changed(files: list[bytes]) -> None:
    plain = plain_header(files[0], len(files[0]))
    assert plain is not None
    dataset = plain[0]
    before = len(dataset)
    dataset.PatientID = "other"
    del dataset.Modality
    assert (dataset.PatientID, len(dataset), "Modality" in dataset) == ("other", before - 1, False)
    assert element_of(dataset, "Modality") is None
    assert [element.keyword for element in dataset if element.keyword == "PatientID"] == ["PatientID"]
    assert Dataset(dict(dataset._dict)) == dataset


def test_files_of_one_layout_are_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [path.read_bytes() for path in write_series(tmp_path, make_voxels((8, 6, 8)), edit=nested)]
    for content in contents:
        plain_header(content, len(content))
    walks: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(elements, "_layout_of", lambda content: walks.append(1) or layout_of(content))
        found = [plain_header(content, len(content)) for content in contents]
    assert not walks
    assert len({one[0].SOPInstanceUID for one in found if one}) == len(contents)
    for content in contents:
        assert_same(content, monkeypatch)


layout_of = elements._layout_of


def test_another_layout_of_the_same_length_is_walked_anew(files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """One tag is another one, at the top, within a sequence, and in the file meta information."""
    content = files[0]
    for _ in range(3):
        plain_header(content, len(content))
    changes = {
        b"\x08\x00\x70\x00": b"\x08\x00\x72\x00",  # Manufacturer
        b"\x08\x00\x04\x01": b"\x08\x00\x06\x01",  # CodeMeaning
        b"\x08\x00\x60\x00": b"\x08\x00\x64\x00",  # Modality becomes ConversionType
    }
    for old, new in changes.items():
        assert old in content
        changed = content.replace(old, new)
        assert plain_header(changed, len(changed)) is not None
        assert_same(changed, monkeypatch)
    implicit = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    plain = plain_header(implicit, len(implicit))
    assert plain is None or plain[0].file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.1"


def test_no_pixels_are_kept_with_a_layout(tmp_path: Path) -> None:
    for number in range(6):

        def name(dataset: Dataset, _: int, length: int = number) -> None:
            dataset.PatientName = "X" * (2 * length + 2)

        (path,) = write_series(tmp_path / str(number), make_voxels((300, 300, 1)), edit=name)
        content = path.read_bytes()
        plain_header(content, len(content))
    kept = elements._TEMPLATES._walked
    assert len(kept) == templates.MOST_TEMPLATES
    assert all(len(walked.content) < 5000 for walked in kept)


def test_a_sequence_where_text_should_be_is_no_text(files: list[bytes]) -> None:
    dataset, _ = read_header(files[0])
    dataset.add_new("InstitutionName", "SQ", [make_item(PatientName="DOE^JANE")])
    assert text(dataset, "InstitutionName") == ""
