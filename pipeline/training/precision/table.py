"""The trials as a table that people read."""

from pathlib import Path

from pipeline import atomic
from pipeline.training.precision.choice import PrecisionChoice

TABLE = "precision.md"


def save_table(folder: Path, choice: PrecisionChoice) -> Path:
    """Write :data:`TABLE`, and return its path."""
    path = folder / TABLE
    atomic.write_text(path, precision_table(choice))
    return path


def precision_table(choice: PrecisionChoice) -> str:
    """Markdown: what was chosen and why, each trial, and the layers that stay in float32."""
    chosen = f"{choice.precision}, {choice.layout}{', compiled' if choice.compiled else ''}"
    lines = ["# Precision of training", "", f"Chosen: {chosen}. {choice.reason}."]
    if choice.kept:
        lines += ["", "Layers that stay in float32: " + ", ".join(f"`{name}`" for name in choice.kept) + "."]
    if choice.trials:
        lines += ["", "| precision | layout | layers in float32 | forward and backward, s | found |"]
        lines += ["| --- | --- | ---: | ---: | --- |"]
    for trial in choice.trials:
        cells = (
            trial.precision + (", compiled" if trial.compiled else ""),
            trial.layout,
            str(len(trial.kept)),
            f"{trial.seconds:.3f}",
            trial.verdict,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
