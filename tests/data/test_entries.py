"""Prepared voxels reach the loader mapped or read, alike; workers do not make the cohort theirs."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from phantoms.spheres import FINDINGS, make_case, make_plan, read

from pipeline.data import entries
from pipeline.data.dataset import PreparedDataset
from pipeline.data.entries import PreparedEntries
from pipeline.data.loader import CaseLoader
from pipeline.data.sampling import EpochOrder, EpochSampler, EvenBatches
from pipeline.domain.case import Case, Split
from pipeline.domain.plan import Plan
from pipeline.errors import TrainingError
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.transforms import prepare

CASES = [make_case(number, Split.TRAIN, 3) for number in range(5)]


@pytest.fixture(params=["float32", "float16"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return make_plan().model_copy(update={"voxels": request.param})


@pytest.fixture
def filled(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PreparedEntries]:
    def make(**options: object) -> PreparedEntries:
        monkeypatch.setattr(entries, "WORTH_MAPPING", options.pop("from_bytes", 0))
        monkeypatch.setattr(entries, "MOST_MAPPED", options.pop("most", 100))
        cache = PreparedCache(tmp_path, plan, **options)
        assert cache.fill(CASES, read) == ()
        return PreparedEntries(CASES, cache)

    return make


@pytest.mark.parametrize("options", [{}, {"most": 2}, {"from_bytes": 2**20}])
def test_mapped_and_read_entries_hold_the_prepared_voxels(
    filled: Callable[..., PreparedEntries], tmp_path: Path, plan: Plan, options: dict[str, int]
) -> None:
    found, cache = filled(**options), PreparedCache(tmp_path, plan)
    expected = torch.stack([torch.from_numpy(prepare(read(case), plan)) for case in CASES])
    for _ in range(2):
        out = torch.full((3, *cache.shape), torch.nan)
        found.copy([4, 0, 2], out)
        assert torch.equal(out, expected[[4, 0, 2]])
        assert torch.equal(torch.stack([found.get(n).float() for n in range(5)]), expected)
    assert found.names.tolist() == [case.case for case in CASES]


def test_what_is_mapped_needs_the_system_once_and_keeps_no_file_open(
    filled: Callable[..., PreparedEntries], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = filled()
    before = psutil.Process().num_fds()
    first = [found.get(n).clone() for n in range(5)]
    assert psutil.Process().num_fds() == before
    monkeypatch.setattr(torch, "from_file", None)
    assert all(torch.equal(found.get(n), kept) for n, kept in enumerate(first))


@pytest.mark.parametrize("most", [0, 100])
def test_a_damaged_entry_is_refused_or_made_again(
    filled: Callable[..., PreparedEntries], tmp_path: Path, plan: Plan, most: int
) -> None:
    sound, path = filled(most=most).get(1).clone(), PreparedCache(tmp_path, plan).path(CASES[1])
    for reader in (None, read):
        found = filled(most=most, read=reader)
        path.write_bytes(path.read_bytes()[:-50])
        if reader is None:
            with pytest.raises(TrainingError, match=f"case {CASES[1].case} .*damaged"):
                found.get(1)
        else:
            assert torch.equal(found.get(1), sound)


def own_megabytes(cases: list[Case], cache: PreparedCache, visited: int, workers: int) -> list[float]:
    """Memory that each worker has for itself after a walk through the first `visited` cases."""
    dataset = PreparedDataset(cases, cache, FINDINGS)
    loader = CaseLoader(dataset, EvenBatches(EpochSampler(EpochOrder(visited, 0, shuffle=True)), 200), workers)
    before = {child.pid for child in psutil.Process().children()}
    seen = [name for batch in loader for name in batch.case_id]
    assert len(set(seen)) == visited
    new = [child for child in psutil.Process().children() if child.pid not in before]
    assert len(new) == workers
    return [child.memory_full_info().uss / 2**20 for child in new]


def test_workers_do_not_copy_the_cohort(tmp_path: Path) -> None:
    """Whoever looks at a Python object writes to its page: workers that walked through the cases held them all.

    In a fresh process: where many tests ran before, what workers allocate falls on pages that they share with it.
    """
    cache = PreparedCache(tmp_path, make_plan())
    assert cache.fill(CASES[:1], read) == ()
    cases = [make_case(0, Split.TRAIN, 3).model_copy(update={"case": f"N{n}"}) for n in range(8_000)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        few, all_of_them = (
            min(fresh.submit(own_megabytes, cases, cache, visited, 2).result()) for visited in (200, 8_000)
        )
    assert all_of_them - few < 6  # 3 where the cases stay where they are, 9 where each is looked at
