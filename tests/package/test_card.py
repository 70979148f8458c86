from phantoms.packages import make_card

from pipeline.domain.score import Score
from pipeline.package.card import FindingScores, ModelCard


def test_the_card_says_what_a_reviewer_asks() -> None:
    text = make_card().markdown()

    for expected in (
        "# lesion detector",
        "Research on synthetic scans.",
        "train: 6 cases of 5 patients",
        "lesion: binary, classes no, yes",
        "| auroc | 0.910 | 0.850 to 0.960 (95%) | 40 cases, 38 patients | bootstrap of patients |",
        "Not for patients.",
        "created 2026-01-02T03:04:05Z, seed 7",
        "resdx 0.1.0",
    ):
        assert expected in text
    assert "leak" not in text


def test_acknowledged_leaks_stand_out() -> None:
    assert "**Acknowledged leaks: 3**" in make_card(acknowledged_leaks=3).markdown()


def test_a_score_that_is_not_defined_gives_its_reason() -> None:
    score = Score(
        metric="auroc", value=None, low=None, high=None, method="none", cases=4, patients=4, note="one class only"
    )
    card = make_card(scores=(FindingScores(finding="lesion", split="validation", scores=(score,)),))

    assert "| auroc | not defined | one class only |" in card.markdown()


def test_free_text_cannot_break_out_of_its_line_or_cell() -> None:
    text = make_card(intended_use="a\n\n# Approved\n<script>alert(1)</script> | x").markdown()

    assert "\n# Approved" not in text
    assert "<script>" not in text


def test_the_card_round_trips_as_json() -> None:
    card = make_card()

    assert ModelCard.model_validate_json(card.model_dump_json()) == card
