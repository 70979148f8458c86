"""Which depth is recommended, by the rule of one standard error."""

import math

import pytest

from pipeline.domain.score import Score
from pipeline.training.study.costs import Cost, Costs
from pipeline.training.study.course import Course, Point
from pipeline.training.study.recommendation import recommend, standings
from pipeline.training.study.record import Record, Shape


def record(depth: int, auroc: float | None, seed: int = 0, error: float = 0.01, residual: bool = True) -> Record:
    score = None
    if auroc is not None:
        score = Score(metric="auroc", value=auroc, low=None, high=None, method="bootstrap", cases=9, patients=9)
    point = Point(step=0, train_loss=1.0, validation_loss=1.0, auroc=auroc)
    course = Course(layers=(), losses=(), points=(point,), gradients=())
    shape = Shape(depth, residual, "batch")
    return Record(shape=shape, seed=seed, course=course, auroc=score, standard_error=error)


def costs(records: list[Record]) -> Costs:
    shapes = dict.fromkeys(entry.shape for entry in records)
    networks = tuple(
        Cost(shape=s, parameters=s.depth * 1000, multiply_adds=10**9, milliseconds=s.depth / 10, peak_bytes=3 * 2**20)
        for s in shapes
    )
    return Costs(networks=networks, device="processor", threads=2, batch_size=64)


@pytest.mark.parametrize(
    ("aurocs", "error", "chosen"),
    [
        ({20: 0.90, 56: 0.92, 110: 0.93}, 0.01, 56),
        ({20: 0.90, 56: 0.92, 110: 0.93}, 0.03, 20),
        ({20: 0.90, 56: 0.92, 110: 0.93}, 0.005, 110),
        ({20: 0.95, 56: 0.92, 110: 0.93}, 0.001, 20),
        ({20: 0.92, 110: 0.92}, 0.0, 20),
    ],
)
def test_smallest_depth_within_one_standard_error_of_the_best(
    aurocs: dict[int, float], error: float, chosen: int
) -> None:
    records = [record(depth, auroc, error=error) for depth, auroc in aurocs.items()]
    found = recommend(records, costs(records))
    assert found.shape == Shape(chosen, True, "batch")
    assert "bootstrap" in found.reasons[0] and "not better by itself" in found.reasons[-1]
    assert f"{chosen / 10:.1f} ms" in found.reasons[1] and "3.0 MB" in found.reasons[1]


def test_several_seeds_give_the_standard_error_of_their_mean() -> None:
    values = {20: (0.80, 0.90, 0.85), 110: (0.90, 0.86, 0.88)}
    records = [
        record(depth, auroc, seed, error=9.0) for depth, found in values.items() for seed, auroc in enumerate(found)
    ]
    small, large = standings(records)
    assert (small.auroc, large.auroc) == (pytest.approx(0.85), pytest.approx(0.88))
    assert small.standard_error == pytest.approx(0.05 / math.sqrt(3)) and small.seeds == 3
    assert large.standard_error == pytest.approx(0.02 / math.sqrt(3))
    found = recommend(records, costs(records))
    assert found.shape == Shape(110, True, "batch") and "over 3 seeds" in found.reasons[0]


def test_a_plain_network_is_only_recommended_where_no_residual_one_is_studied() -> None:
    plain = [record(20, 0.99, residual=False)]
    both = [*plain, record(56, 0.90)]
    assert recommend(both, costs(both)).shape == Shape(56, True, "batch")
    assert recommend(plain, costs(plain)).shape == Shape(20, False, "batch")


def test_nothing_is_recommended_where_auroc_is_not_defined() -> None:
    records = [record(20, None)]
    assert recommend(records, costs(records)).shape is None
    half = [record(20, 0.9, 0), record(20, None, 1), record(56, 0.8)]
    assert [entry.shape.depth for entry in standings(half)] == [56]


def test_an_error_of_zero_is_not_taken_for_certainty() -> None:
    records = [record(20, 1.0, error=0.0), record(56, 0.99)]
    assert "not certainty" in recommend(records, costs(records)).reasons[0]
    assert "not certainty" not in recommend(records[1:], costs(records)).reasons[0]


def test_titles() -> None:
    assert Shape(110, True, "batch").title == "ResNet-110"
    assert Shape(20, False, "none").title == "Plain-20, norm none" and Shape(20, False, "none").name == "plain-20-none"
