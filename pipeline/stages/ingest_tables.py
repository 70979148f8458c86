"""What an ingest leaves on disk and says at its end."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import __version__, atomic
from pipeline.cohort.accounting import Account, files_by_code, files_text, refusal_lines, rejections_text
from pipeline.cohort.facts import Facts, facts_text
from pipeline.cohort.label_damage import summary
from pipeline.cohort.label_join import Joined
from pipeline.cohort.label_sheet import LabelSheet
from pipeline.cohort.outliers import Levels
from pipeline.cohort.page import render
from pipeline.cohort.previews import chosen
from pipeline.cohort.tables import beside, save_manifest
from pipeline.cohort.tally import by_class, by_shape, classes_of, patients, splits_of
from pipeline.cohort.thumbnails import ENDING as THUMBNAILS
from pipeline.domain.case import Split
from pipeline.domain.cells import csv_text, raw_bytes, table_bytes
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.finding import FindingKind
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Shortcut
from pipeline.domain.series import Discovery
from pipeline.evaluation.shortcuts import warnings as shortcut_warnings

PROBLEM_COLUMNS = ("line", "column", "cell", "problem", "message")
INVENTORY_COLUMNS = ("series", "case", "modality", "description", "plane", "spacing", "slices", "view", "files", "path")
FILES, REJECTIONS, PROBLEMS = "files.csv", "rejections.csv", "labels.rejections.csv"
INVENTORY, COPY_REJECTIONS = "inventory.files.csv", "deidentified.rejections.csv"
"""Tables after NAME; their names end as promise 8 asks of what carries identifiers or free text."""

REPORT = "report.json"
"""What the page says, for machines."""

FAILED = tuple(f"failed.{ending}" for ending in (FILES, REJECTIONS, PROBLEMS))
"""The same of an ingest that left no case, where an older manifest of that name stands."""

ENDINGS = ("csv", "json", "html", THUMBNAILS, REPORT, FILES, REJECTIONS, PROBLEMS, INVENTORY, COPY_REJECTIONS, *FAILED)
"""Of all files that ingest writes, after NAME."""

SHOWN_SHAPES = 20


@dataclass(frozen=True, slots=True)
class Ingested:
    """The outcome. ``sheet`` and ``joined`` are None in an inventory.

    Attributes
    ----------
    accepted : mapping of str to str
        Series key to the pseudonym of its case.
    notes : tuple of str
        What else a reviewer should know. No patient data.
    previews : mapping of str to bytes
        Pseudonym of a case to the JPEG of its middle slice.
    levels : mapping of str to Levels
        Pseudonym of a series to its intensities.
    shortcuts : tuple of Shortcut
        How well each covariate alone tells a finding.
    """

    manifest: Manifest
    account: Account
    discovery: Discovery
    accepted: Mapping[str, str]
    sheet: LabelSheet | None
    joined: Joined | None
    notes: tuple[str, ...] = ()
    previews: Mapping[str, bytes] = field(default_factory=dict)
    levels: Mapping[str, Levels] = field(default_factory=dict)
    shortcuts: tuple[Shortcut, ...] = ()

    @property
    def unlabelled(self) -> int:
        """Files of scans without a label."""
        return sum(row.code == Code.NO_LABEL for row in self.account.files)

    @property
    def unscanned(self) -> int:
        """Rows of the label file that belong to no case."""
        return self.joined.unmatched if self.joined else 0


def save(out: Path, done: Ingested, series_name: Callable[[str], str], previews: int = 0) -> None:
    """Write NAME.csv and what stands beside it; the page shows at most so many previews."""
    tables = {PROBLEMS: _problems(done.joined), INVENTORY: "" if done.sheet else _inventory(done, series_name)}
    tables |= dict.fromkeys(FAILED, "")
    for ending, text in tables.items():
        if text:
            encode = raw_bytes if ending == PROBLEMS else table_bytes  # cells of the label file stay as they are there
            atomic.write_bytes(beside(out, ending), encode(text))
        else:
            beside(out, ending).unlink(missing_ok=True)
    facts = Facts.of(done.manifest, done.account, done.levels, done.shortcuts)
    said = warnings(done, "the label file")
    atomic.write_text(beside(out, REPORT), facts_text(done.manifest, done.account, facts, said) + "\n")
    first = {one.case for one in facts.outliers}
    shown = {one.case: done.previews[one.case] for one in chosen(done.manifest.cases, done.previews, previews, first)}
    atomic.write_text(beside(out, "html"), render(done.manifest, done.account, facts, said, __version__, shown))
    save_manifest(out, done.manifest, done.account)


def save_refusals(out: Path, account: Account, joined: Joined | None) -> Path:
    """Write the reasons where no case is left, beside an older manifest of that name; return the table of refusals."""
    names = FAILED if beside(out, "json").exists() else (FILES, REJECTIONS, PROBLEMS)
    files, rejections, problems = (beside(out, name) for name in names)
    atomic.write_bytes(files, table_bytes(files_text(account.files)))
    atomic.write_bytes(rejections, table_bytes(rejections_text(account.rejections)))
    if joined:
        atomic.write_bytes(problems, raw_bytes(_problems(joined)))
    return rejections


def warnings(done: Ingested, name: str = "") -> list[str]:
    """Say what a reader should know before the numbers; the label file is called `name`."""
    said = list(done.notes)
    if done.sheet and done.joined:
        own = done.sheet.table.name
        said += [note.replace(own, name or own) for note in (*done.sheet.notes, *done.joined.notes)]
        said += summary(name or own, done.joined.problems)
    if done.unlabelled:
        said.append(f"{done.unlabelled} files are of scans that no row of the label file belongs to.")
    if leaks := done.manifest.acknowledged_leaks:
        said.append(f"{leaks} patients or images stand in two splits; the configuration acknowledges it.")
    return [*said, *_thin_splits(done.manifest), *shortcut_warnings(done.shortcuts)]


def closing_lines(out: Path, done: Ingested) -> Iterator[str]:
    """Say what became of every file, what the cohort holds, what was refused and why, and what to do next."""
    counts = done.account.counts
    yield (
        f"{counts.inputs} files: {counts.used} used, {counts.skipped} skipped, {counts.rejected} rejected. "
        f"{counts.cases} cases of {patients(done.manifest.cases)} patients."
    )
    yield from _cohort_lines(done.manifest) if done.sheet else _shape_lines(done.manifest)
    yield from warnings(done)
    yield from _skip_lines(done.account)
    yield from refusal_lines(done.account, beside(out, REJECTIONS))
    if done.joined and done.joined.problems:
        yield f"Every row of the label file that is in doubt: {beside(out, PROBLEMS)}"
    yield f"What the cohort holds: {beside(out, 'html')}"
    if not done.sheet:
        yield f"What each series is called: {beside(out, INVENTORY)}"
        yield f"Next: resdx ingest {done.discovery.root} --labels LABELS.csv --out {out.with_name('cohort.csv')}"
    elif done.manifest.of(Split.TRAIN):
        yield f"Next: resdx plan {out}"
    else:
        yield f"Next: resdx evaluate MODEL --manifest {out} --split all --out {out.with_name('report')}"


def reasons(account: Account) -> str:
    """Codes with their numbers of files."""
    told = ", ".join(f"{count} x {code}" for code, count in files_by_code(account).items())
    return told or "nothing"


def _cohort_lines(manifest: Manifest) -> Iterator[str]:
    tables = {finding.name: by_class(manifest, finding) for finding in manifest.findings}
    for split, cases in splits_of(manifest).items():
        told = "; ".join(
            f"{name}: {', '.join(f'{label} {count}' for label, count in table[split].items())}"
            for name, table in tables.items()
        )
        yield f"  {split:<10} {len(cases)} cases of {patients(cases)} patients; {told}"


def _shape_lines(manifest: Manifest) -> Iterator[str]:
    shapes = by_shape(manifest)
    for modality, plane, spacing, slices, count in shapes[:SHOWN_SHAPES]:
        yield f"  {count:>6} x {modality:<4} {plane:<8} {spacing}, {slices} slices"
    if len(shapes) > SHOWN_SHAPES:
        yield f"         and {len(shapes) - SHOWN_SHAPES} more kinds"


def _skip_lines(account: Account) -> Iterator[str]:
    skipped = [f"{count} x {code}" for code, count in files_by_code(account).items() if Code(code) in SKIPS]
    if skipped:
        yield f"Skipped: {', '.join(skipped)}"


def _thin_splits(manifest: Manifest) -> Iterator[str]:
    """Name the classes that a split lacks: it cannot be learned from, or scored on."""
    found = splits_of(manifest)
    for finding in manifest.findings:
        for split, cases in found.items():
            absent = [name for name, count in classes_of(cases, finding).items() if not count]
            if absent and (len(found) > 1 or finding.kind is FindingKind.BINARY):
                yield f"{finding.name}: the split {split} has no case of {', '.join(absent)}."
    if found.keys() & {str(Split.TRAIN)} and not manifest.of(Split.VALIDATION):
        yield "No case is for validation; training needs some."


def _problems(joined: Joined | None) -> str:
    if joined is None:
        return ""
    rows = ((str(one.line), one.column, one.cell, str(one.damage), one.message) for one in joined.problems)
    return csv_text(PROBLEM_COLUMNS, rows)


def _inventory(done: Ingested, series_name: Callable[[str], str]) -> str:
    rows = (
        (
            series_name(series.key),
            done.accepted.get(series.key, ""),
            series.modality,
            series.description,
            *(series.attributes.get(name, "") for name in ("plane", "spacing", "slices", "view")),
            str(len(series.files)),
            str(series.files[0].path),
        )
        for series in done.discovery.series
    )
    return csv_text(INVENTORY_COLUMNS, rows)
