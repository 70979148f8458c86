"""``resdx demo``: a synthetic hospital from its messy export to predictions on patients nobody has seen."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from pipeline import atomic
from pipeline.cohort.tables import load_files
from pipeline.config import Settings
from pipeline.domain.score import Report
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, UsageError
from pipeline.shipped import find_config
from pipeline.stages import evaluate, ingest, predict, train
from pipeline.stages.demo_hospital import (
    Patient,
    make_patients,
    make_report,
    make_scout,
    tilted,
    write_scans,
)
from pipeline.stages.outcome import Outcome
from pipeline.stages.train_settings import Config as TrainConfig

log = logging.getLogger("resdx")

POSITIVE = "yes"
SHORT_NOTE = "  (the short form trains for 2 epochs: it shows the way, its scores mean nothing)"
SHORT_PATIENTS, SHORT_UNSEEN, SHORT_EPOCHS = 40, 12, 2


class Config(Settings):
    """Settings of ``resdx demo``."""

    out: Path = Field(description="Folder for everything the demo makes; must be empty or not exist.")
    patients: PositiveInt = Field(default=96, ge=40, description="Patients in the export to train on.")
    unseen: PositiveInt = Field(default=40, ge=8, description="Patients that come later, to predict on.")
    seed: NonNegativeInt = Field(default=2024, description="Of the invented patients and of training.")
    short: bool = Field(default=False, description="40 + 12 patients and 2 epochs: shows the way, not quality.")
    shuffle_labels: bool = Field(
        default=False, description="Deal the labels at random: a check that an honest pipeline then finds nothing."
    )
    key_file: Path | None = Field(default=None, description="Key of the pseudonyms; null keeps one in `out`.")
    processes: NonNegativeInt | None = Field(default=None, description="Worker processes that read scans.")
    epochs: PositiveInt | None = Field(default=None, description="Epochs of training; null takes the configuration's.")


@dataclass(frozen=True, slots=True)
class Planted:
    """One piece of mess: what it is and a file that shows what became of it."""

    what: str
    file: Path


def run(config: Config) -> Outcome:
    """Make, ingest, train, evaluate, predict; then say what came out and what to open.

    Raises
    ------
    UsageError
        If the output folder holds something.
    """
    if config.out.exists() and any(config.out.iterdir()):
        raise UsageError(f"{config.out} is not empty.", "Give the demo a folder of its own with --out.")
    if config.short:
        config = config.model_copy(update={"patients": SHORT_PATIENTS, "unseen": SHORT_UNSEEN, "epochs": SHORT_EPOCHS})
    out = config.out.resolve()
    log.info("making a synthetic hospital of %d patients, and %d to come", config.patients, config.unseen)
    planted = make_export(out / "hospital", config)
    log.info("\n1. ingest: find, read, check, label, split")
    ingested = ingest.run(_ingest_config(config, out, "hospital", {}))
    _expect(ingested, EXIT_SOME_REJECTED)
    log.info("\n2. train")
    _expect(train.run(_train_config(config, out)), EXIT_OK)
    log.info("\n3. evaluate on the test split, then on patients that came later")
    test = _evaluate(config, out, "cohort", "test")
    _expect(ingest.run(_ingest_config(config, out, "unseen", {"split_column": "split"})), EXIT_OK)
    unseen = _evaluate(config, out, "unseen", "all")
    log.info("\n4. predict on the new scans, as a hospital would every night")
    predicted = predict.run(
        predict.Config.from_mapping(
            {
                "model": str(out / "runs" / "lesion" / "package"),
                "scans": str(out / "unseen" / "scans"),
                "out": str(out / "predictions"),
                "key_file": str(_key_file(config, out)),
                "processes": config.processes,
            }
        )
    )
    lines = [
        *_mess_lines(out, planted),
        "",
        *_score_lines(test, unseen),
        *([SHORT_NOTE] if config.short else []),
        "",
        *predicted.lines,
        "",
        *_open_lines(config),
    ]
    return Outcome(tuple(lines))


def make_export(folder: Path, config: Config) -> list[Planted]:
    """Write both deliveries of scans and their label files; return the mess in the first."""
    patients = make_patients(config.patients, 1001, config.seed)
    unseen = make_patients(config.unseen, 5001, config.seed)
    later = folder.parent / "unseen"
    files = write_scans(folder / "scans", patients, config.seed)
    write_scans(later / "scans", unseen, config.seed + 1)
    planted = plant_mess(folder / "scans", patients, files)
    _write_labels(folder / "labels.csv", patients, config, with_split=False)
    _write_labels(later / "labels.csv", unseen, config, with_split=True)
    return planted


def plant_mess(scans: Path, patients: Sequence[Patient], files: dict[str, list[Path]]) -> list[Planted]:
    """Spoil a delivery the way real ones are."""
    gap, cut, doubled, bent = (files[patients[index].patient_id] for index in (0, 1, 2, 5))
    gap.pop(len(gap) // 2).unlink()
    cut[3].write_bytes(cut[3].read_bytes()[:-700])
    copy = scans / "copy of an image"
    copy.write_bytes(doubled[0].read_bytes())
    scout, report = scans / "IM0001", scans / "IM0002"
    make_scout(patients[3]).save_as(scout, enforce_file_format=True)
    make_report(patients[4]).save_as(report, enforce_file_format=True)
    for path, image in zip(bent, tilted(patients[5]), strict=True):
        image.save_as(path, enforce_file_format=True)
    thumbs, text = scans / "Thumbs.db", scans / "readme.dcm"
    thumbs.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(2048))
    text.write_text("Exported on Monday. Please call 4711 if anything is missing.\n", encoding="utf-8")
    return [
        Planted("a series with its middle slice missing", gap[0]),
        Planted("a file cut off in the middle", cut[3]),
        Planted("the other slices of that series", cut[0]),
        Planted("the same image twice", copy),
        Planted("a scout beside the volume", scout),
        Planted("a report among the images", report),
        Planted("a series with a tilted gantry", bent[0]),
        Planted("a Thumbs.db", thumbs),
        Planted("a text file named .dcm", text),
    ]


def _write_labels(path: Path, patients: Sequence[Patient], config: Config, *, with_split: bool) -> None:
    """Write the spreadsheet as a hospital's Excel saves it: byte-order mark, semicolons, Windows line ends."""
    answers = ["yes" if patient.lesion else "no" for patient in patients]
    if config.shuffle_labels:
        answers = np.random.default_rng(config.seed).permutation(answers).tolist()
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";", lineterminator="\r\n")
    writer.writerow(["PatientID", "lesion", *(["split"] if with_split else [])])
    for patient, answer in zip(patients, answers, strict=True):
        writer.writerow([patient.patient_id, answer, *(["test"] if with_split else [])])
    if not with_split:
        writer.writerow(["0009999", "no"])
    atomic.write_bytes(path, table.getvalue().encode("utf-8-sig"))


def _key_file(config: Config, out: Path) -> Path:
    return config.key_file or out / "private" / "key"


def _ingest_config(config: Config, out: Path, delivery: str, labels: dict[str, str]) -> ingest.Config:
    name = "cohort" if delivery == "hospital" else delivery
    finding = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": POSITIVE}
    return ingest.Config.from_mapping(
        {
            "scans": str(out / delivery / "scans"),
            "out": str(out / "manifests" / f"{name}.csv"),
            "labels": {"file": str(out / delivery / "labels.csv"), "findings": [finding], **labels},
            "key_file": str(_key_file(config, out)),
            "processes": config.processes,
        }
    )


def _train_config(config: Config, out: Path) -> TrainConfig:
    values: dict[str, object] = {
        "manifest": str(out / "manifests" / "cohort.csv"),
        "out": str(out / "runs" / "lesion"),
        "seed": config.seed,
        "processes": config.processes,
    }
    if config.epochs:
        values |= {"training.epochs": config.epochs, "training.warmup_epochs": 0}
    return TrainConfig.load(find_config("train", "demo"), values=values)


def _evaluate(config: Config, out: Path, manifest: str, split: str) -> Report:
    settings = evaluate.Config.from_mapping(
        {
            "model": str(out / "runs" / "lesion"),
            "manifest": str(out / "manifests" / f"{manifest}.csv"),
            "out": str(out / "reports" / manifest),
            "split": split,
            "processes": config.processes,
        }
    )
    _expect(evaluate.run(settings), EXIT_OK)
    return Report.model_validate_json((settings.out / "report.json").read_text(encoding="utf-8"))


def _expect(outcome: Outcome, exit_code: int) -> None:
    for line in outcome.lines:
        log.info("   %s", line)
    assert outcome.exit_code == exit_code, (outcome.exit_code, exit_code)


def _mess_lines(out: Path, planted: Sequence[Planted]) -> list[str]:
    rows = {Path(row.path): row for row in load_files(out / "manifests" / "cohort.csv").rows}
    lines = ["The mess that was planted, and what became of it:"]
    for mess in planted:
        row = rows[mess.file]
        lines.append(f"  {mess.what:<42} {row.disposition} {row.code}".rstrip())
    lines.append(f"  {'a label of a patient who was never scanned':<42} listed, see above")
    return lines


def _score_lines(test: Report, unseen: Report) -> list[str]:
    lines = ["Area under the ROC curve, with its 95% interval:"]
    for name, report in (("test split", test), ("patients that came later", unseen)):
        score = next(score for score in report.findings[0].scores if score.metric == "auroc")
        interval = f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" if score.value is not None else score.note
        lines.append(f"  {name:<26} {interval}  ({score.cases} cases)")
    return lines


def _open_lines(config: Config) -> list[str]:
    out = config.out
    return [
        "Open next:",
        f"  {out}/reports/unseen/report.html   how good the model is, and how sure we are",
        f"  {out}/manifests/cohort.html        what happened to every file",
        f"  {out}/predictions/predictions.html every new patient on one page, with pictures",
        f"  {out}/predictions/predictions.csv  the same as a table",
        f"  resdx ui {out}/runs                 the experiment in MLflow",
        "  resdx info GAP                      what a code means",
    ]
