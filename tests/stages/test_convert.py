"""``resdx convert``: what the pipeline sees of a folder, every file accounted for, nothing written among the scans."""

import csv
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms.dicom_series import Identity, expected_affine, make_voxels, write_series
from phantoms.niftis import SFORM, nifti, voxels, zipped
from phantoms.pictures import png
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.series import Series
from pipeline.domain.volume import Volume
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ScansGone, UsageError
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.stages import convert
from pipeline.stages.convert import Config, run

CANARY = "CANARY"
SHAPE, SPACING, POSITION = (6, 5, 4), (0.7, 0.8, 2.5), (-12.0, 3.5, 40.0)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / f"{CANARY}-scans"
    folder.mkdir()
    identity = Identity.numbered(1, patient_id=f"{CANARY}-1", patient_name=f"{CANARY}^Name")
    write_series(folder / "ct", make_voxels(SHAPE), identity=identity, spacing=SPACING, position=POSITION)
    (folder / f"{CANARY}.nii.gz").write_bytes(zipped(nifti()))
    (folder / "cut.nii.gz").write_bytes(zipped(nifti())[:-6])
    (folder / "=cmd.nii").write_bytes(nifti(sform_code=0))
    (folder / "notes.txt").write_text("not an image")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_accounted_for_and_every_good_series_is_there(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()}

    outcome = run(Config(scans=scans, out=out, modality="MR", processes=1))

    assert outcome.exit_code == EXIT_SOME_REJECTED
    summary = json.loads((out / "summary.json").read_text())
    assert summary == {
        "inputs": 8,
        "used": 5,
        "skipped": 1,
        "rejected": 2,
        "cases": 2,
        "codes": {"NOT_AN_IMAGE": 1, "NO_GEOMETRY": 1, "TRUNCATED": 1},
    }
    files = rows(out / "files.csv")
    assert {Path(row["path"]) for row in files} == set(before)
    ended = {Path(row["path"]).name: (row["disposition"], row["code"]) for row in files}
    assert (
        ended.items()
        >= {
            f"{CANARY}.nii.gz": ("used", ""),
            "cut.nii.gz": ("rejected", "TRUNCATED"),
            "=cmd.nii": ("rejected", "NO_GEOMETRY"),
            "notes.txt": ("skipped", "NOT_AN_IMAGE"),
        }.items()
    )
    assert [(row["code"], row["stage"], bool(row["remedy"])) for row in rows(out / "rejections.csv")] == [
        ("NO_GEOMETRY", "discover", True),
        ("TRUNCATED", "read", True),
    ]
    assert {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()} == before
    names = {row["case"] for row in files if row["case"]}
    expected = {f"{name}{suffix}" for name in names for suffix in (".nii.gz", ".json")}
    assert {path.name for path in out.iterdir()} == expected | {"files.csv", "rejections.csv", "summary.json"}


def test_volumes_are_the_known_voxels_in_stored_order_at_the_known_place(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    run(Config(scans=scans, out=out, modality="MR", processes=0))

    facts = {read["reader"]: read for path in out.glob("S*.json") if (read := json.loads(path.read_text()))}
    ct = nib.load(out / f"{facts['dicom']['source_series']}.nii.gz")
    np.testing.assert_array_equal(ct.get_fdata(), make_voxels(SHAPE))
    affine = expected_affine(spacing=SPACING, position=POSITION)
    np.testing.assert_allclose(ct.affine, affine, rtol=0, atol=1e-5)
    assert facts["dicom"].items() >= {"modality": "CT", "files": 4, "stack": 0, "intensity": "Hounsfield units"}.items()
    mr = nib.load(out / f"{facts['nifti']['source_series']}.nii.gz")
    np.testing.assert_array_equal(mr.get_fdata(), voxels((4, 3, 2)))
    np.testing.assert_array_equal(mr.affine[:3], SFORM)
    assert (facts["nifti"]["modality"], len(facts["nifti"]["digest"])) == ("MR", 64)


def test_what_was_written_is_read_back_as_it_was(scans: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ReadOptions(modality="CT")
    run(Config(scans=scans, out=out, modality="CT", processes=0))

    first = {pseudonym(series.key): read(series, options) for series in discover(scans, options).series[:-1]}
    again = {series.key.removesuffix(".nii.gz"): read(series, options) for series in discover(out, options).series}

    assert again.keys() == first.keys()
    for name, volume in first.items():
        np.testing.assert_array_equal(again[name].voxels, volume.voxels)
        np.testing.assert_allclose(again[name].geometry.matrix, volume.geometry.matrix, atol=1e-5)
        assert again[name].notes == volume.notes


def pseudonym(key: str) -> str:
    return Pseudonyms.open(None).series(key)


def test_no_identifier_outside_the_tables_that_may_carry_paths(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    outcome = run(Config(scans=scans, out=out, modality="MR", processes=0))

    private = {"files.csv", "rejections.csv"}
    assert CANARY not in "".join(outcome.lines).replace(str(tmp_path), "")
    for path in out.iterdir():
        assert CANARY not in path.name
        content = path.read_bytes() if path.suffix != ".gz" else nib.load(path).header.binaryblock
        assert (CANARY.encode() in content) <= (path.name in private), path.name
        assert b"1.2.826" not in content


def test_a_folder_that_is_not_mounted_costs_no_volume(scans: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    run(Config(scans=scans, out=out, modality="MR", processes=0))
    before = {path: path.read_bytes() for path in out.iterdir()}
    scans.rename(away)
    scans.mkdir()
    (scans / "cut.nii.gz").touch()

    with pytest.raises(ScansGone, match=r"2 volumes stand in .*out"):
        run(Config(scans=scans, out=out, modality="MR", processes=0))

    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_other_scans_do_not_replace_volumes(scans: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "out", tmp_path / "others"
    run(Config(scans=scans, out=out, modality="MR", processes=0))
    before = {path: path.read_bytes() for path in out.iterdir()}
    write_series(others, make_voxels(SHAPE), identity=Identity.numbered(2))

    with pytest.raises(UsageError, match=r"2 volumes stand in .*out, and none is of a series in .*others"):
        run(Config(scans=others, out=out, modality="MR", processes=0))

    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_again_gives_equal_bytes(scans: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(Config(scans=scans, out=tmp_path / name, modality="MR", processes=0))

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_series_that_is_refused_now_leaves_no_volume_of_before(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Config(scans=scans, out=out, modality="MR", processes=0))
    (out / ".tmp-half").write_text("what a killed worker left")
    (out / ".tmp-folder").mkdir()

    run(Config(scans=scans, out=out, processes=0))  # without a modality the NIfTI file is refused

    codes = {row["code"] for row in rows(out / "rejections.csv")}
    assert "NO_MODALITY" in codes
    assert len(list(out.glob("S*.nii.gz"))) == len(list(out.glob("S*.json"))) == 1
    assert not (out / ".tmp-half").exists()


def test_one_damaged_slice_costs_its_series_and_names_itself(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    paths = write_series(scans, make_voxels(SHAPE))
    os.truncate(paths[2], paths[2].stat().st_size - 9)

    run(Config(scans=scans, out=out, processes=0))

    found = {row["path"]: row["code"] for row in rows(out / "rejections.csv")}
    assert found.pop(str(paths[2])) == "TRUNCATED"
    assert set(found.values()) == {"INCOMPLETE"} and len(found) == SHAPE[2] - 1
    assert json.loads((out / "summary.json").read_text())["rejected"] == SHAPE[2]


def test_a_picture_has_no_place_in_a_patient(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    known = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("u1")
    (tmp_path / "scans" / "a.png").write_bytes(png(known, 2))

    outcome = run(Config(scans=tmp_path / "scans", out=tmp_path / "out", modality="OP", processes=0))

    (path,) = (tmp_path / "out").glob("*.nii.gz")
    image = nib.load(path)
    assert outcome.exit_code == EXIT_OK
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    data = np.asarray(image.dataobj)
    np.testing.assert_array_equal(np.stack([data[name] for name in "RGB"], -1)[:, :, 0], known.transpose(1, 0, 2))


def test_nothing_is_written_among_the_scans(scans: Path, tmp_path: Path) -> None:
    for inside in (scans, scans / "out"):
        with pytest.raises(UsageError, match="lies in the folder of scans"):
            run(Config(scans=scans, out=inside))
    with pytest.raises(UsageError, match="does not exist"):
        run(Config(scans=tmp_path / "absent", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command(scans: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(scans), str(tmp_path / "out"), "--modality", "CT", "processes=0"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == EXIT_SOME_REJECTED
    assert "8 files: 5 used, 1 skipped, 2 rejected. 2 series are converted." in result.output


def test_a_series_that_is_refused_at_discovery_leaves_no_volume_of_before(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    paths = write_series(scans, make_voxels(SHAPE))
    run(Config(scans=scans, out=out, processes=0))
    assert len(list(out.glob("S*"))) == 2
    (out / "Sister.json").write_text("of somebody else")
    paths[1].unlink()

    run(Config(scans=scans, out=out, processes=0))

    assert {row["code"] for row in rows(out / "rejections.csv")} == {"GAP", "INCOMPLETE"}
    assert [path.name for path in out.glob("S*")] == ["Sister.json"]


@pytest.fixture
def read_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the series that a conversion reads."""
    keys: list[str] = []

    def note(series: Series, options: ReadOptions) -> Volume:
        keys.append(series.key)
        return read(series, options)

    monkeypatch.setattr(convert, "read", note)
    return keys


def test_killed_in_the_middle_it_goes_on(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_keys: list[str]
) -> None:
    run(Config(scans=scans, out=tmp_path / "whole", modality="MR", processes=0))
    everything = list(read_keys)
    read_keys.clear()
    out, config = tmp_path / "out", Config(scans=scans, out=tmp_path / "out", modality="MR", processes=0)
    note = convert.read

    def killed(series: Series, options: ReadOptions) -> Volume:
        if read_keys:
            raise KeyboardInterrupt
        return note(series, options)

    with monkeypatch.context() as patched:
        patched.setattr(convert, "read", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    outcome = run(config)

    assert len(everything) == 3 and sorted(read_keys) == sorted(everything)
    assert "1 of them stood there already" in "".join(outcome.lines)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


@pytest.mark.parametrize("change", ["nothing", "settings", "modality", "version", "pixels", "volume", "json"])
def test_only_what_would_come_out_the_same_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_keys: list[str], change: str
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    (scans).mkdir()
    (scans / "a.nii").write_bytes(nifti())
    config = Config(scans=scans, out=out, modality="MR", processes=0)
    run(config)
    (image,) = out.glob("*.nii.gz")
    match change:
        case "settings":
            config = config.model_copy(update={"nifti": config.nifti.model_copy(update={"compression": 1})})
        case "modality":
            config = config.model_copy(update={"modality": "CT"})
        case "version":
            monkeypatch.setattr(convert, "__version__", "another")
        case "pixels":
            (scans / "a.nii").write_bytes(nifti(voxels((4, 3, 2)) + 1))
        case "volume":
            image.unlink()
        case "json":
            image.with_name(image.name.replace(".nii.gz", ".json")).write_text("{")
    run(config)
    assert len(read_keys) == (1 if change == "nothing" else 2)
    run(config)
    assert len(read_keys) == (1 if change == "nothing" else 2)


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_no_key_is_made_among_the_scans(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setenv("RESDX_KEY_FILE", str(scans / "key"))
    before = sorted(scans.rglob("*"))
    given = {"key_file": scans / "key"} if by == "setting" else {}
    with pytest.raises(UsageError, match="folder of scans"):
        run(Config(scans=scans, out=tmp_path / "out", processes=0, **given))
    assert sorted(scans.rglob("*")) == before
