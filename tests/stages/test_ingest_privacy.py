"""Nothing that ingest writes or says names a patient, save the tables that promise 8 lists."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms.canaries import BASE, CANARY, DATE, plant, traces
from phantoms.dicom_objects import truncate
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import content_of, write_labels, yes_no

from pipeline.errors import ResdxError
from pipeline.stages import ingest

COUNT = 12
LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
INSIDE = ("files.csv", "rejections.csv")
"""Ends of the names of tables that may carry identifiers and paths."""


def identity(number: int) -> Identity:
    root = f"{BASE}.{number}"
    return Identity(
        f"{CANARY}{number:03d}", f"{CANARY}^Jane{number}", root, f"{root}.1", f"{root}.9", f"{CANARY}A{number}", DATE
    )


def write_dicom(scans: Path, number: int) -> list[Path]:
    """One series with canaries in its header, in a folder with one in its name."""
    planted: list[int] = []
    paths = write_series(
        scans / f"{CANARY}^Jane {number}",
        make_voxels((6, 5, 3), seed=number),
        identity=identity(number),
        edit=lambda dataset, _: planted.append(plant(dataset)),
    )
    assert min(planted) >= 100
    return [path.rename(path.with_name(f"{CANARY}{path.name}")) for path in paths]


def write_nifti(path: Path, seed: int) -> None:
    voxels = np.random.default_rng(seed).normal(0, 100, (6, 5, 4)).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0]))
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = f"{CANARY}^{field}"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{CANARY}^extension".encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def shown(folder: Path, said: list[str]) -> list[str]:
    """All that others than the owner of the key may see: lines, logs, public files, and the names of all files."""
    written = content_of(folder / "out")
    public = [content.decode(errors="replace") for name, content in written.items() if not name.endswith(INSIDE)]
    return [text.replace(str(folder), "") for text in (*said, *written, *public)]


def run(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, **settings: object
) -> list[str]:
    """Ingest with all logging on; return everything it said, also by an error."""
    labels = {"file": str(folder / "labels.csv"), "findings": [LESION], **settings.pop("labels", {})}  # type: ignore[dict-item]
    base = {"scans": str(folder / "scans"), "out": str(folder / "out" / "cohort.csv"), "labels": labels, "processes": 0}
    config = ingest.Config.from_mapping(base | settings)
    said: list[str] = []
    with caplog.at_level(logging.INFO):
        try:
            said += ingest.run(config).lines
        except ResdxError as error:
            said += [str(error)]
    printed = capfd.readouterr()
    return [*said, printed.out, printed.err, caplog.text]


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    for number in range(COUNT):
        paths = write_dicom(tmp_path / "scans", number)
    truncate(paths[0], missing=300)
    ids = [f"{CANARY}{number:03d}" for number in range(COUNT + 1)]
    notes = [f"{CANARY}^note{number}" for number in range(COUNT + 1)]
    write_labels(tmp_path / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT + 1), "remark": notes})
    return tmp_path


def clean(texts: list[str]) -> bool:
    found = [(text[:200], traces(text.encode())) for text in texts if traces(text.encode())]
    assert not found, found
    return True


def test_no_canary_of_a_hundred_tags_is_shown(
    dicom: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    said = run(dicom, capfd, caplog)
    assert any(f"{COUNT - 1} cases" in line for line in said), said
    assert clean(shown(dicom, said))
    assert (dicom / "out" / "cohort.html").exists() and (dicom / "out" / "cohort.json").exists()


def test_no_canary_is_shown_where_scans_are_listed_without_labels(
    dicom: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert clean(shown(dicom, run(dicom, capfd, caplog, labels={"file": None, "findings": []})))


def test_no_canary_of_nifti_headers_and_names_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{CANARY} folder/{CANARY}{number}.nii.gz" for number in range(COUNT)]
    for number, name in enumerate(names):
        write_nifti(tmp_path / "scans" / name, number)
    (tmp_path / "scans" / f"{CANARY}.nii").write_bytes(b"\x5c\x01\0\0" + f"{CANARY}^broken".encode() * 40)
    (tmp_path / "scans" / f"{CANARY}.txt").write_text(CANARY)
    people = [f"{CANARY}p{number}" for number in range(COUNT)]
    write_labels(tmp_path / "labels.csv", {"path": names, "patient_id": people, "lesion": yes_no(COUNT)})
    said = run(tmp_path, capfd, caplog, modality="MR")
    assert any(f"{COUNT} cases" in line for line in said), said
    assert clean(shown(tmp_path, said))


def _spoil_id(cells: dict[str, list[str]]) -> None:
    cells["PatientID"][3] = cells["PatientID"][4]


def _spoil_label(cells: dict[str, list[str]]) -> None:
    cells["lesion"][2] = f"{CANARY}^Jane"


def _spoil_split(cells: dict[str, list[str]]) -> None:
    cells["split"] = [f"{CANARY}^split"] * len(cells["lesion"])


def _spoil_age(cells: dict[str, list[str]]) -> None:
    cells["years"] = [f"{CANARY}^age"] * len(cells["lesion"])


def _spoil_date(cells: dict[str, list[str]]) -> None:
    cells["StudyDate"] = [f"{CANARY}^date"] * len(cells["lesion"])


@pytest.mark.parametrize("spoil", [_spoil_id, _spoil_label, _spoil_split, _spoil_age, _spoil_date])
def test_no_cell_of_a_label_file_is_in_an_error(
    dicom: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, spoil: object
) -> None:
    ids = [f"{CANARY}{number:03d}" for number in range(COUNT)]
    cells = {"PatientID": ids, "lesion": yes_no(COUNT)}
    spoil(cells)  # type: ignore[operator]
    write_labels(dicom / "labels.csv", cells)
    more = {"split_column": "split"} if "split" in cells else {}
    more |= {"covariates": {"age": "years"}} if "years" in cells else {}
    assert clean(shown(dicom, run(dicom, capfd, caplog, labels=more)))
