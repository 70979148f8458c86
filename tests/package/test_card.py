from phantoms.packages import make_card

from pipeline.domain.score import Score
from pipeline.package.card import FindingScores, Member, ModelCard


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


def test_members_stand_with_their_mean_and_spread() -> None:
    values = (0.8, 0.9, 0.85)
    members = tuple(
        Member(
            name=f"fold{fold}-seed0",
            seed=0,
            fold=fold,
            model="d" * 64,
            cases=20,
            scores={
                "lesion": Score(
                    metric="auroc", value=value, low=value - 0.1, high=0.95, method="m", cases=20, patients=20
                )
            },
        )
        for fold, value in enumerate(values, start=1)
    )
    text = make_card(members=members).markdown()

    assert "mean of the logits of 3 networks" in text
    assert "| member | cases | lesion auroc |" in text
    assert "| fold2-seed0 | 20 | 0.900 (0.800 to 0.950) |" in text
    assert "| mean |  | 0.850 |" in text
    assert "| standard deviation |  | 0.050 |" in text
    assert "| lowest to highest |  | 0.800 to 0.900 |" in text
    assert "## Members" not in make_card().markdown()
