"""The de-identified copy that ingest writes: complete, stable, in its place, and read back to the same volumes."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from phantoms.canaries import BASE, CANARY, DATE, plant, traces, word
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import content_of, write_nifti, write_patient
from phantoms.readings import read_folder

from pipeline.cohort.digests import voxels_digest
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import load_manifest
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, UsageError
from pipeline.stages import ingest
from pipeline.stages.outcome import Outcome


def run(folder: Path, scans: str = "scans", **settings: object) -> Outcome:
    """Make an inventory, and by default the copy, without worker processes."""
    base = {"scans": str(folder / scans), "out": str(folder / "out" / "all.csv"), "processes": 0, "modality": "MR"}
    copy = {"deidentified_copy": {"folder": str(folder / "copy")}}
    return ingest.run(ingest.Config.from_mapping(base | copy | settings))


def refusals(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "all.deidentified.rejections.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_scans(scans: Path) -> None:
    for number in (1, 2):
        write_patient(scans / str(number), number)


def test_the_copy_is_read_to_the_same_volumes(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    outcome = run(tmp_path)
    assert outcome.exit_code == EXIT_OK and "De-identified copy of 8 of 8 used files" in outcome.lines[0]
    first = load_manifest(tmp_path / "out" / "all.csv")
    run(tmp_path, scans="copy", out=str(tmp_path / "again" / "all.csv"), deidentified_copy={})
    second = load_manifest(tmp_path / "again" / "all.csv")
    taken = [
        sorted(
            (one.voxels, one.shape, one.spacing, one.plane, one.modality) for case in made.cases for one in case.series
        )
        for made in (first, second)
    ]
    assert taken[0] == taken[1] and len(taken[0]) == 2
    assert {case.covariates["age"] for case in second.cases} == {"61"}
    assert refusals(tmp_path) == []


def test_frames_are_read_to_the_same_volume_in_the_same_place(tmp_path: Path) -> None:
    frames = make_frames(make_voxels((6, 5, 4)), position=(-3.25, 4.5, 7.0), spacing=(0.7, 0.9, 2.5))
    write_enhanced(tmp_path / "scans" / "one.dcm", frames, spacing=(0.7, 0.9, 2.5))
    run(tmp_path)
    before, after = read_folder(tmp_path / "scans").volume, read_folder(tmp_path / "copy").volume
    assert np.array_equal(before.voxels, after.voxels) and before.geometry == after.geometry


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["ct_philips_axial_j2k", "mr_philips_enhanced"])
def test_real_series_are_read_to_the_same_volumes(tmp_path: Path, shared_data: Path, name: str) -> None:
    run(tmp_path, scans=str(shared_data / "dicom_series" / name / "In"))
    read = [read_folder(place) for place in (shared_data / "dicom_series" / name / "In", tmp_path / "copy")]
    first, second = ([(voxels_digest(volume), volume.geometry) for _, volume in one.volumes] for one in read)
    assert first and sorted(first, key=str) == sorted(second, key=str)


def test_names_are_pseudonyms_and_the_patient_is_the_one_of_the_manifest(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    run(tmp_path)
    names = [name for name in content_of(tmp_path / "copy") if name != "deidentified.json"]
    assert all(re.fullmatch(r"P[0-9a-f]{16}/S[0-9a-f]{16}/2\.25\.\d+\.dcm", name) for name in names)
    (case, _) = load_manifest(tmp_path / "out" / "all.csv").cases
    assert f"{case.patient}/{case.series[0].series}" in {name.rpartition("/")[0] for name in names}
    assert Pseudonyms.open(None).patient("PAT-0001") in {name.partition("/")[0] for name in names}


def test_a_second_run_leaves_the_same_bytes_and_nothing_stale(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    run(tmp_path)
    before = content_of(tmp_path / "copy")
    assert run(tmp_path).exit_code == EXIT_OK
    assert content_of(tmp_path / "copy") == before
    for path in (tmp_path / "scans" / "2").iterdir():
        path.unlink()
    run(tmp_path)
    assert len(content_of(tmp_path / "copy")) == 5
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_may_be_burned_in_is_a_case_and_not_in_the_copy(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    write_series(tmp_path / "scans" / "us", make_voxels((6, 5, 1)), modality="US", identity=Identity.numbered(3))
    write_nifti(tmp_path / "scans" / "n.nii.gz", 1)
    outcome = run(tmp_path)
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert "8 of 10 used files" in outcome.lines[0] and "1 x BURNED_IN, 1 x NOT_SUPPORTED" in outcome.lines[1]
    assert sorted(row["code"] for row in refusals(tmp_path)) == ["BURNED_IN", "NOT_SUPPORTED"]
    cases = load_manifest(tmp_path / "out" / "all.csv").cases
    noted = [case for case in cases if any("burned into the pixels" in note for note in case.notes)]
    assert len(cases) == 4 and [case.series[0].modality for case in noted] == ["US"]
    allowed = run(tmp_path, deidentified_copy={"folder": str(tmp_path / "copy"), "allow_burned_in": True})
    assert "9 of 10 used files" in allowed.lines[0]


def test_no_canary_is_in_the_copy_or_in_a_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    who = Identity(word("id"), word("name"), f"{BASE}.1", f"{BASE}.2", f"{BASE}.3", word("acc"), DATE)
    write_series(
        tmp_path / "scans" / f"{CANARY}^Jane",
        make_voxels((6, 5, 4)),
        identity=who,
        edit=lambda one, _: plant(one) and None,
    )
    outcome = run(tmp_path)
    copied = content_of(tmp_path / "copy")
    assert len(copied) == 5, outcome.lines
    assert {name: found for name, content in copied.items() if (found := traces(name.encode() + content))} == {}
    printed = capfd.readouterr()
    assert traces("\n".join([*outcome.lines, printed.out, printed.err]).encode()) == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("scans/copy", "where nothing is written"),
        ("scans", "where nothing is written"),
        ("foreign", "not overwritten"),
        ("half", "not overwritten"),
        ("unmarked", "not overwritten"),
        (".", "manifest or the key"),
        ("out", "manifest or the key"),
        ("keys", "manifest or the key"),
    ],
)
def test_places_where_no_copy_may_be(tmp_path: Path, place: str, message: str) -> None:
    write_scans(tmp_path / "scans")
    unmarked = f"unmarked/P{'0' * 16}/S{'0' * 16}/2.25.1.dcm"
    for name in ("foreign/notes.txt", "half/deidentified.json", "half/notes.txt", unmarked):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    before = content_of(tmp_path)
    with pytest.raises(UsageError, match=message):
        run(
            tmp_path,
            key_file=str(tmp_path / "keys" / "key") if place == "keys" else None,
            deidentified_copy={"folder": str(tmp_path / place)},
        )
    assert {name: content for name, content in content_of(tmp_path).items() if not name.startswith("keys")} == before


def test_workers_write_the_same_copy(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")
    run(tmp_path)
    before = content_of(tmp_path / "copy")
    assert run(tmp_path, processes=1).exit_code == EXIT_OK
    assert content_of(tmp_path / "copy") == before


def test_what_breaks_its_worker_is_listed_and_leaves_nothing(tmp_path: Path) -> None:
    write_scans(tmp_path / "scans")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.cohort.deidentified.copying.deidentify", broken)
        outcome = run(tmp_path)
    assert "0 of 8 used files" in outcome.lines[0] and {row["code"] for row in refusals(tmp_path)} == {"INTERNAL"}
