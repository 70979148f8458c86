"""The hardest cases and the confusion of a model whose answers are written down here."""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from phantoms.spheres import FINDINGS, LESION, SIZE, make_manifest

from pipeline.domain.case import Split
from pipeline.training.review.curves import save_curves
from pipeline.training.review.mistakes import Answers, confusion, hardest, save_confusion, save_table
from pipeline.training.review.pictures import middle_slice, save_grid

CASES = make_manifest(train=0, validation=6, test=0, ndim=2).of(Split.VALIDATION)
"""Case n has a lesion unless 3 divides n, and is of size n modulo 3."""


@pytest.fixture
def answers() -> Answers:
    """Right about all, surely, but for case 4 (surely no lesion) and case 2 (perhaps not)."""
    lesion = np.array([-8.0, 8.0, -0.5, -8.0, -8.0, 8.0])
    above_none = np.where(np.arange(6) % 3 > 0, 8.0, -8.0)
    above_small = np.where(np.arange(6) % 3 > 1, 8.0, -8.0)
    return Answers(FINDINGS, CASES, np.stack([lesion, above_none, above_small], axis=1), {"lesion": 0.3})


def test_the_hardest_case_comes_first(answers: Answers) -> None:
    assert hardest(answers, 2).tolist() == [4, 2]


def test_the_table_names_pseudonym_label_and_probabilities(answers: Answers, tmp_path: Path) -> None:
    rows = list(csv.DictReader(save_table(tmp_path / "hardest.csv", answers).open()))

    assert [row["case"] for row in rows[:2]] == ["C4", "C2"]
    assert len(rows) == 6
    assert rows[0] | {"loss": ""} == {
        "rank": "1",
        "case": "C4",
        "loss": "",
        "lesion": "yes",
        "p(lesion=no)": "0.9997",
        "p(lesion=yes)": "0.0003",
        "size": "small",
        "p(size=none)": "0.0003",
        "p(size=small)": "0.9993",
        "p(size=large)": "0.0003",
    }
    # two findings: cross entropy of lesion, and of size the mean of its two thresholds
    assert float(rows[0]["loss"]) == pytest.approx((np.log1p(np.exp(8)) + np.log1p(np.exp(-8))) / 2, abs=1e-4)


def test_a_binary_finding_is_called_by_its_threshold(answers: Answers) -> None:
    assert confusion(answers, LESION).tolist() == [[2, 0], [1, 3]]  # case 2 has 0.378, above 0.3 and below one half
    assert confusion(answers, SIZE).tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_unknown_labels_stand_in_no_confusion(answers: Answers) -> None:
    unlabelled = CASES[0].model_copy(update={"labels": {}})
    some = Answers(FINDINGS, (unlabelled, *CASES[1:]), answers.logits, answers.thresholds)

    assert confusion(some, LESION).sum() == 5


def test_the_middle_slice_is_seen_upright() -> None:
    volume = np.arange(2 * 3 * 5, dtype=np.float32).reshape(1, 2, 3, 5)
    picture = middle_slice(volume)

    assert picture.shape == (3, 2)
    assert picture[0].tolist() == volume[0, :, 2, 2].tolist()  # front on top
    image = volume[:, :, :, 0]
    assert middle_slice(image).tolist() == image[0].T.tolist()


def test_pictures_and_curves_are_drawn_alike_each_time(answers: Answers, tmp_path: Path) -> None:
    entry = {"val/auroc": 0.5, "learning_rate": 0.1}
    history = [entry | {"epoch": float(n), "train/loss": 1 / n, "val/loss": 2 / n} for n in (1, 2)]
    black_and_white = np.zeros((8, 8), dtype=np.float32)
    black_and_white[:4] = 1
    for name in ("one", "two"):
        save_grid(tmp_path / f"grid_{name}.png", [black_and_white] * 5, "Five")
        save_curves(tmp_path / f"curves_{name}.png", history, 2)
        save_confusion(tmp_path / f"confusion_{name}.png", SIZE, confusion(answers, SIZE), "called")

    for kind in ("grid", "curves", "confusion"):
        one, two = ((tmp_path / f"{kind}_{name}.png").read_bytes() for name in ("one", "two"))
        assert one == two
    grid = imread(tmp_path / "grid_one.png")[..., 0]
    height, width = grid.shape
    assert grid[int(height * 0.2), width // 8] == 1.0 and grid[int(height * 0.45), width // 8] == 0.0
    assert (grid[int(height * 0.6) :, width // 2 :] == 1.0).all()  # empty cells, and no caption anywhere
