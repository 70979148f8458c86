"""The files of a study, and its closing lines."""

from collections.abc import Iterator
from pathlib import Path

from pipeline import atomic
from pipeline.training.study.page import render
from pipeline.training.study.pictures import save_pictures
from pipeline.training.study.results import Study, study_table

WRITTEN = ("study.json", "study.csv", "study.html")


def write_study(folder: Path, made: Study) -> tuple[Path, ...]:
    """Write study.json, study.csv, study.html and the pictures; return what was written."""
    pictures = save_pictures(folder, made.records)
    atomic.write_text(folder / "study.json", made.model_dump_json(indent=1) + "\n")
    atomic.write_text(folder / "study.csv", study_table(made))
    atomic.write_text(folder / "study.html", render(made, pictures))
    return (*pictures, *(folder / name for name in WRITTEN))


def closing_lines(folder: Path, made: Study) -> Iterator[str]:
    """Yield how each network did, and what is recommended."""
    for entry in made.standings:
        seeds = f"{entry.seeds} seeds" if entry.seeds > 1 else "one seed"
        yield f"{entry.shape.title}: best validation AUROC {entry.auroc:.4f} ({seeds})"
    for record in made.records:
        if record.course.diverged_at is not None:
            yield f"{record.shape.title}, seed {record.seed}: not finite at step {record.course.diverged_at}."
    shape = made.recommendation.shape
    yield f"Recommended: {shape.title if shape else 'nothing'}."
    yield from made.recommendation.reasons
    yield f"Page: {folder / 'study.html'}"
