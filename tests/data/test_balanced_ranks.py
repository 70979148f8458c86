"""Balanced sampling over several ranks: together they make the visits of one process, step by step."""

import numpy as np
import pytest

from pipeline.data.sampling import EpochOrder, EpochSampler, EvenBatches


@pytest.mark.parametrize(("count", "ranks"), [(24, 2), (25, 2), (23, 4)])
def test_ranks_share_the_balanced_visits_of_one_process(count: int, ranks: int) -> None:
    weights = np.where(np.arange(count) < 3, count / 6.0, count / (2.0 * (count - 3)))  # three rare cases, half of all
    order = EpochOrder(count, seed=7, shuffle=True, weights=weights)
    sampler = EpochSampler(order)
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        whole = list(EvenBatches(sampler, 4 * ranks))
        shares = [list(EvenBatches(sampler, 4, rank, ranks)) for rank in range(ranks)]
        assert [sorted(visit for share in shares for visit in share[step]) for step in range(len(whole))] == [
            sorted(batch) for batch in whole
        ]
        assert sorted(visit for batch in whole for visit in batch) == sorted(order.visits(epoch))
    assert order.visits(0) != order.visits(3)
    drawn = [visit.position for epoch in range(200) for visit in order.visits(epoch)]
    assert np.mean(np.asarray(drawn) < 3) == pytest.approx(0.5, abs=0.03)
