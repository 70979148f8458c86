"""The cache holds exactly what `prepare` returns, whoever writes it and whatever happens to its files."""

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.domain.case import Case, CaseSeries
from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.plan import Plan, Window
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput, TrainingError
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.scan_facts import measure_facts
from pipeline.preprocessing.transforms import prepare

PLAN = Plan(
    fingerprint="f",
    modality="CT",
    unit=Unit.MM,
    ndim=3,
    channels=1,
    spacing=(2.0, 2.0, 2.0),
    size=(6, 7, 8),
    intensity=Window(low=-100, high=100),
    depth=10,
    batch_size=2,
    precision="auto",
)


def make_case(number: int, **changes: object) -> Case:
    base: dict[str, object] = {
        "series": f"S{number}",
        "reader": "nifti",
        "modality": "CT",
        "shape": (12, 12, 12),
        "spacing": (1.0, 1.0, 1.0),
        "unit": Unit.MM,
        "plane": Plane.AXIAL,
        "channels": 1,
        "digest": f"{number:064x}",
    }
    series = CaseSeries.model_validate(base | changes)
    return Case(case=f"C{number}", patient=f"P{number}", study=f"T{number}", series=(series,))


CASES = tuple(make_case(number) for number in range(6))
HALF = PLAN.model_copy(update={"voxels": "float16"})
BOTH = pytest.mark.parametrize("plan", [PLAN, HALF], ids=["float32", "float16"])


def read(case: Case) -> Volume:
    voxels = np.random.default_rng(int(case.digest, 16)).uniform(-200, 200, (1, 12, 12, 12)).astype(np.float32)
    return Volume(voxels=voxels, geometry=Geometry.from_matrix((12, 12, 12), np.eye(4)), modality="CT")


def refuse_the_third(case: Case) -> Volume:
    if case.case == "C2":
        raise RejectedInput("CHANGED", "sha256 differs", remedy="ingest again")
    return read(case)


def must_not_read(case: Case) -> Volume:
    raise AssertionError(f"{case.case} was read again")


def fill(folder: Path, plan: Plan = PLAN) -> None:
    assert PreparedCache(folder, plan).fill(CASES, read) == ()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@BOTH
def test_holds_what_prepare_returns_as_plain_npy(tmp_path: Path, plan: Plan) -> None:
    cache = PreparedCache(tmp_path, plan)
    fill(tmp_path, plan)
    for case in CASES:
        loaded = cache.load(case)
        assert loaded.dtype == np.float32
        assert plan is HALF or (isinstance(loaded, np.memmap) and not loaded.flags.writeable)
        np.testing.assert_array_equal(loaded, prepare(read(case), plan))
        held = np.load(cache.path(case), mmap_mode="r", allow_pickle=False)
        np.testing.assert_array_equal(held, loaded)
        assert held.dtype == plan.voxels and held.nbytes == 6 * 7 * 8 * (4 if plan is PLAN else 2)
    rows = np.empty((len(CASES), *cache.shape), np.float32)
    cache.load_into(CASES, rows)
    np.testing.assert_array_equal(rows, np.stack([cache.load(case) for case in CASES]))


def test_a_second_fill_reads_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    before = files(tmp_path)
    assert PreparedCache(tmp_path, PLAN).fill(CASES, must_not_read) == ()
    assert files(tmp_path) == before


def test_a_failing_case_is_one_rejection(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, PLAN)
    too_flat = make_case(50, modality="MR")
    (refused,) = cache.fill((*CASES, too_flat), refuse_the_third)
    assert (refused.code, refused.path, refused.series, refused.stage) == (Code.CHANGED, "C2", "S2", "read")
    assert refused.advice == "ingest again"
    ready = [case for case in CASES if case.case != "C2"]
    assert all(cache.is_intact(case) for case in ready) and not cache.is_intact(CASES[2])
    with pytest.raises(TrainingError, match="C2"):
        cache.load(CASES[2])


def test_worker_processes_write_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "inline")
    cache = PreparedCache(tmp_path / "pool", PLAN)
    (refused,) = cache.fill(CASES, refuse_the_third, processes=2)
    assert refused.path == "C2" and cache.fill(CASES, read, processes=2) == ()
    assert files(tmp_path / "pool") == files(tmp_path / "inline")


def test_eight_writers_at_once_leave_identical_bytes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=fill, args=(tmp_path / "shared",)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 8
    fill(tmp_path / "alone")
    assert files(tmp_path / "shared") == files(tmp_path / "alone")  # and no temporary file is left


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "flipped bit":
            content[len(content) // 2] ^= 1
        case "short":
            content = content[:-40]
        case "empty":
            content = bytearray()
        case "header":
            content[20] ^= 1
        case "long":
            content += b"x"
        case "no trailer":
            content[-40:] = b"\0" * 40
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content)


DAMAGES = ["flipped bit", "short", "empty", "header", "long", "no trailer", "missing"]


@BOTH
@pytest.mark.parametrize("how", DAMAGES)
def test_fill_mends_every_damage_and_only_the_damaged(tmp_path: Path, how: str, plan: Plan) -> None:
    fill(tmp_path, plan)
    before = files(tmp_path)
    cache = PreparedCache(tmp_path, plan)
    damage(cache.path(CASES[2]), how)
    assert [case.case for case in CASES if not cache.is_intact(case)] == ["C2"]
    (refused,) = cache.fill(CASES, refuse_the_third)
    assert refused.path == "C2"
    assert cache.fill(CASES, read) == () and files(tmp_path) == before


@BOTH
@pytest.mark.parametrize("how", [how for how in DAMAGES if how != "flipped bit"])
def test_loading_rebuilds_or_refuses_what_is_structurally_damaged(tmp_path: Path, how: str, plan: Plan) -> None:
    fill(tmp_path, plan)
    expected = prepare(read(CASES[1]), plan)
    rows = np.empty((1, *expected.shape), np.float32)
    for load in ("load", "load_into"):
        cache = PreparedCache(tmp_path, plan)
        damage(cache.path(CASES[1]), how)
        with pytest.raises(TrainingError, match="resdx prepare"):
            cache.load(CASES[1]) if load == "load" else cache.load_into([CASES[1]], rows)
        mending = PreparedCache(tmp_path, plan, read)
        if load == "load":
            rows[0] = mending.load(CASES[1])
        else:
            mending.load_into([CASES[1]], rows)
        np.testing.assert_array_equal(rows[0], expected)
        assert cache.is_intact(CASES[1])


def test_another_content_stack_or_plan_is_a_miss_and_labels_are_not(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, PLAN)
    path = cache.path(CASES[0])
    assert cache.path(make_case(0, digest="f" * 64)) != path
    assert cache.path(make_case(0, stack=1)) != path
    assert cache.path(make_case(0, voxels="e" * 64)) != path  # the same files, read in another unit
    assert cache.path(make_case(0, reader="dicom")) != path
    other = PreparedCache(tmp_path, PLAN.model_copy(update={"intensity": Window(low=-100, high=101)}))
    assert other.path(CASES[0]) != path
    assert PreparedCache(tmp_path, HALF).path(CASES[0]) != path
    cheaper = PreparedCache(tmp_path, PLAN.model_copy(update={"batch_size": 1, "depth": 50}))
    assert cheaper.path(CASES[0].model_copy(update={"labels": {"a": "b"}, "case": "C9"})) == path


def test_moved_cache_still_serves(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert PreparedCache(tmp_path / "b", PLAN).fill(CASES, must_not_read) == ()


def test_facts_of_the_scan_stand_beside_its_voxels(tmp_path: Path) -> None:
    fill(tmp_path)
    case = CASES[1]
    expected = measure_facts(read(case))
    assert PreparedCache(tmp_path, PLAN, must_not_read).facts(case) == expected
    (kept,) = (
        PreparedCache(tmp_path, PLAN).path(case).parent.glob(f"{PreparedCache(tmp_path, PLAN).path(case).stem}.f*")
    )
    for spoil in (kept.unlink, lambda: kept.write_text(kept.read_text()[:-9])):
        spoil()
        with pytest.raises(TrainingError, match="missing or damaged"):
            PreparedCache(tmp_path, PLAN).facts(case)
        assert PreparedCache(tmp_path, PLAN, read).facts(case) == expected
        assert PreparedCache(tmp_path, PLAN, must_not_read).facts(case) == expected
