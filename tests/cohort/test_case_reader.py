import pickle
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import Identity, make_voxels, write_series
from pydicom.dataset import Dataset

from pipeline.cohort.accounting import account
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.digests import files_digest, voxels_digest
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import load_files, load_manifest, save_manifest
from pipeline.domain.case import Case, CaseSeries
from pipeline.domain.codes import Code
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.options import MendOptions, ReadOptions
from pipeline.readers.reading import read

NIFTI = ReadOptions(modality="MR")


def ingested(scans: Path, out: Path, options: ReadOptions) -> tuple[list[tuple[Case, Volume]], CaseReader]:
    """Each series as a case of its own, through the tables on disk; with what was read at first."""
    discovery, names = discover(scans, options), Pseudonyms.open(None)
    volumes = [read(series, options) for series in discovery.series]
    cases = [
        Case(
            case=names.case(series.key),
            patient=names.patient(series.key),
            study=names.study(series.key),
            series=(
                CaseSeries(
                    series=names.series(series.key),
                    reader=series.reader,
                    stack=series.stack,
                    modality=volume.modality,
                    shape=volume.geometry.shape,
                    spacing=volume.geometry.spacing,
                    unit=volume.geometry.unit,
                    plane=volume.geometry.plane,
                    channels=volume.channels,
                    digest=files_digest(series.files),
                    voxels=voxels_digest(volume),
                ),
            ),
            notes=volume.notes,
        )
        for series, volume in zip(discovery.series, volumes, strict=True)
    ]
    accepted = {series.key: case.case for series, case in zip(discovery.series, cases, strict=True)}
    path = out / "cohort.csv"
    save_manifest(path, Manifest(cases=tuple(cases)), account(discovery, accepted, (), names.series))
    manifest = load_manifest(path)
    return list(zip(manifest.cases, volumes, strict=True)), CaseReader(load_files(path), ReadOptions())


def assert_same(volume: Volume, expected: Volume) -> None:
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    assert (volume.geometry, volume.modality) == (expected.geometry, expected.modality)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, seed in {"a": 1, "b": 2}.items():
        voxels = np.random.default_rng(seed).integers(0, 999, (6, 5, 4)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])), folder / f"{name}.nii.gz")
    return folder


def test_nifti_files_come_back_with_the_modality_that_was_recorded(scans: Path, tmp_path: Path) -> None:
    done, reader = ingested(scans, tmp_path, NIFTI)
    assert len(done) == 2
    again = pickle.loads(pickle.dumps(reader))
    for case, volume in done:
        assert volume.modality == "MR"
        assert_same(again.read(case), volume)
        assert voxels_digest(again.read(case)) == case.series[0].voxels


def test_stacks_of_one_file_and_series_of_many_come_back_each(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    one, other = make_voxels((6, 5, 4), seed=1), make_voxels((6, 5, 4), seed=2)
    frames = [*make_frames(one, echo_time=10.0), *make_frames(other, echo_time=90.0)]
    write_enhanced(
        scans / "enhanced.dcm", frames, spacing=(1.0, 1.0, 1.0), modality="MR", identity=Identity.numbered(1)
    )
    write_series(scans / "slices", make_voxels((6, 5, 4), seed=3), identity=Identity.numbered(2))
    done, reader = ingested(scans, tmp_path, ReadOptions())
    assert sorted(case.series[0].stack for case, _ in done) == [0, 0, 1]
    for case, volume in done:
        assert_same(reader.read(case), volume)


def test_a_file_that_is_gone_changed_or_replaced_is_refused(scans: Path, tmp_path: Path) -> None:
    done, reader = ingested(scans, tmp_path, NIFTI)
    (first, _), (second, volume) = sorted(done, key=lambda one: reader.files.of(one[0].series[0].series)[0].path)
    (scans / "a.nii.gz").write_bytes((scans / "b.nii.gz").read_bytes())
    with pytest.raises(RejectedInput) as caught:
        reader.read(first)
    assert (caught.value.code, Path(caught.value.path).name) == (Code.CHANGED, "a.nii.gz")
    (scans / "a.nii.gz").unlink()
    with pytest.raises(RejectedInput) as caught:
        reader.read(first)
    assert caught.value.code == Code.UNREADABLE and str(tmp_path) not in caught.value.message
    assert_same(reader.read(second), volume)


def test_scans_may_move_but_not_take_each_others_place(scans: Path, tmp_path: Path) -> None:
    done, _ = ingested(scans, tmp_path, NIFTI)
    scans.rename(tmp_path / "moved")
    table = tmp_path / "cohort.files.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("/scans/", "/moved/"), encoding="utf-8")
    reader = CaseReader(load_files(tmp_path / "cohort.csv"), ReadOptions())
    for case, volume in done:
        assert_same(reader.read(case), volume)
    one, other = (case.series[0].series for case, _ in done)
    table.write_text(text.replace(one, "S?").replace(other, one).replace("S?", other), encoding="utf-8")
    reader = CaseReader(load_files(tmp_path / "cohort.csv"), ReadOptions())
    with pytest.raises(RejectedInput, match="does not list the files of this case"):
        reader.read(done[0][0])


def test_a_case_is_not_read_by_other_options_than_at_ingest(tmp_path: Path) -> None:
    """Mended there and taken as it is here, or the other way round, would be another volume."""

    def uneven(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = [0.0, 0.0, float(k + (k > 2))]

    write_series(tmp_path / "even", make_voxels((6, 5, 4)), identity=Identity.numbered(1))
    write_series(tmp_path / "uneven", make_voxels((6, 5, 6)), identity=Identity.numbered(2), edit=uneven)
    mending = ReadOptions(mend=MendOptions(spacing=True))
    ((mended, volume),), reader = ingested(tmp_path / "uneven", tmp_path, mending)
    reader.options = mending
    assert_same(reader.read(mended), volume)
    unmarked = mended.model_copy(update={"notes": ()})
    with pytest.raises(RejectedInput, match=r"other `read` options .MENDED.") as caught:
        reader.read(unmarked)
    assert caught.value.code == Code.CHANGED
    ((plain, volume),), reader = ingested(tmp_path / "even", tmp_path, ReadOptions())
    assert_same(reader.read(plain), volume)
    reader.options = ReadOptions(split_by=("KVP",))
    with pytest.raises(RejectedInput, match=r"other `read` options .SPLIT."):
        reader.read(plain)


def test_a_second_export_has_other_files_and_the_same_voxels(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 4))
    write_series(tmp_path / "one", voxels, identity=Identity.numbered(1))
    write_series(tmp_path / "two", voxels, identity=Identity.numbered(2))
    write_series(tmp_path / "three", np.flip(voxels, 0), identity=Identity.numbered(3))
    found = [discover(tmp_path / name, ReadOptions()).series[0] for name in ("one", "two", "three")]
    assert len({files_digest(series.files) for series in found}) == 3
    first, second, third = (voxels_digest(read(series, ReadOptions())) for series in found)
    assert first == second != third
    assert files_digest(found[0].files) == files_digest(found[0].files[::-1])


def test_each_file_is_read_from_disk_once_and_not_held(
    tmp_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, reader = ingested(scans, tmp_path, NIFTI)
    case, volume = cases[0]
    opened: list[Path] = []
    real_open = Path.open

    def counting(path: Path, *arguments: Any, **named: Any) -> IO[Any]:
        opened.append(path)
        return real_open(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", counting)
    assert_same(reader.read(case), volume)
    assert len(opened) == len(set(opened)) > 0
    assert_same(reader.read(case), volume)
    assert len(opened) == 2 * len(set(opened)), "a second reading finds the files anew"
