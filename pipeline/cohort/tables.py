"""A manifest on disk: NAME.csv for people, NAME.json to check it by, NAME.files.csv and NAME.rejections.csv."""

import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pipeline import atomic
from pipeline.cohort.accounting import FILE_COLUMNS, Account, files_text, rejections_text
from pipeline.cohort.columns import LATER, case_of, columns, row_of
from pipeline.cohort.file_row import SEPARATOR, FileRow
from pipeline.domain.case import Case
from pipeline.domain.cells import csv_text, plain_cell, table_bytes, table_text
from pipeline.domain.finding import Finding
from pipeline.domain.frozen import Frozen
from pipeline.domain.manifest import SCHEMA_VERSION, Counts, Manifest
from pipeline.domain.selection import Selection
from pipeline.domain.series import Disposition, SourceFile
from pipeline.errors import ManifestError

AGAIN = "Run `resdx ingest` again."


class ManifestHeader(Frozen):
    """NAME.json: what the table does not say, and the digests that both are checked by.

    Attributes
    ----------
    covariates : tuple of str
        Their columns are named ``cov_NAME``.
    table_sha256 : str
        Of NAME.csv, byte for byte.
    digest : str
        Of the whole manifest; see :attr:`Manifest.digest`.
    """

    schema_version: int = SCHEMA_VERSION
    findings: tuple[Finding, ...]
    covariates: tuple[str, ...]
    acknowledged_leaks: int
    select: Selection | None = None
    counts: Counts
    table_sha256: str
    digest: str


@dataclass(frozen=True, slots=True)
class FilesTable:
    """The input files of a manifest, found by the series that they make."""

    rows: tuple[FileRow, ...]
    _of: dict[str, tuple[SourceFile, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[SourceFile]] = defaultdict(list)
        for row in self.rows:
            if row.disposition is Disposition.USED:
                file = SourceFile(Path(row.path), Path(row.path).as_posix(), 0, row.sha256)
                for series in row.series.split(SEPARATOR):
                    found[series].append(file)
        object.__setattr__(self, "_of", {series: tuple(files) for series, files in found.items()})

    def of(self, series: str) -> tuple[SourceFile, ...]:
        """Files of a series by its pseudonym, in the order of the table; their size is not known (0)."""
        return self._of.get(series, ())


def save_manifest(path: Path, manifest: Manifest, account: Account) -> None:
    """Write the four tables; NAME.json comes last, so that what a crash leaves behind does not pass for whole.

    Parameters
    ----------
    path : Path
        NAME.csv.
    """
    content, header = render(manifest, account.counts)
    atomic.write_bytes(beside(path, "files.csv"), table_bytes(files_text(account.files)))
    atomic.write_bytes(beside(path, "rejections.csv"), table_bytes(rejections_text(account.rejections)))
    atomic.write_bytes(path, content)
    atomic.write_text(beside(path, "json"), header.model_dump_json(indent=2) + "\n")


def render(manifest: Manifest, counts: Counts) -> tuple[bytes, ManifestHeader]:
    """Return the content of NAME.csv and what stands in NAME.json."""
    findings = [finding.name for finding in manifest.findings]
    assert len(set(findings)) == len(findings), "two findings have one name"
    covariates = sorted({name for case in manifest.cases for name in case.covariates})
    rows = (row_of(case, findings, covariates) for case in manifest.cases)
    content = csv_text(columns(findings, covariates), rows).encode("utf-8")
    header = ManifestHeader(
        findings=manifest.findings,
        covariates=tuple(covariates),
        acknowledged_leaks=manifest.acknowledged_leaks,
        select=manifest.select,
        counts=counts,
        table_sha256=hashlib.sha256(content).hexdigest(),
        digest=manifest.digest,
    )
    return content, header


def load_manifest(path: Path) -> Manifest:
    """Read NAME.csv and NAME.json and check one by the other.

    Raises
    ------
    ManifestError
        A file is missing, damaged, edited or of another version.
    """
    return parse(path, _read(path), load_header(path))


def parse(path: Path, content: bytes, header: ManifestHeader) -> Manifest:
    """Build what :func:`render` was given again; see :func:`load_manifest`."""
    if hashlib.sha256(content).hexdigest() != header.table_sha256:
        raise ManifestError(
            f"{path} is not the table that was ingested: it was edited, or writing it was interrupted.",
            "Put the original back; or change the label file or the configuration instead, and ingest again.",
        )
    names = [finding.name for finding in header.findings]
    cases = tuple(_cases(path, content, names, header.covariates))
    try:
        manifest = Manifest(
            findings=header.findings,
            cases=cases,
            acknowledged_leaks=header.acknowledged_leaks,
            select=header.select,
        )
    except ValidationError as error:
        raise ManifestError(f"{path} is no valid manifest: {_problems(error)}.", AGAIN) from error
    if manifest.digest != header.digest:
        raise ManifestError(f"{beside(path, 'json')} does not belong to {path.name}: it was edited.", AGAIN)
    return manifest


def load_header(path: Path) -> ManifestHeader:
    """Read the NAME.json of a NAME.csv.

    Raises
    ------
    ManifestError
        See :func:`load_manifest`.
    """
    if path.suffix != ".csv":
        raise ManifestError(f"{path} is no manifest.", "Give the NAME.csv that `resdx ingest` wrote.")
    place = beside(path, "json")
    try:
        values = json.loads(_read(place))
        version = values.get("schema_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version != SCHEMA_VERSION:
            message = f"{path} has layout {version}, this version of resdx reads layout {SCHEMA_VERSION}."
            raise ManifestError(message, AGAIN)
        return ManifestHeader.model_validate(values)
    except ValidationError as error:
        raise ManifestError(f"{place} is damaged or edited: {_problems(error)}.", AGAIN) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"{place} is damaged or edited: it is no JSON.", AGAIN) from error


def load_files(path: Path) -> FilesTable:
    """Read the NAME.files.csv of a NAME.csv. Paths may be edited where scans have moved: contents are checked.

    Raises
    ------
    ManifestError
        The table is missing or damaged.
    """
    place = beside(path, "files.csv")
    return FilesTable(tuple(_file_rows(place)))


def beside(path: Path, ending: str) -> Path:
    """NAME.ending of a NAME.csv."""
    return path.with_name(f"{path.stem}.{ending}")


def _cases(path: Path, content: bytes, findings: list[str], covariates: tuple[str, ...]) -> Iterator[Case]:
    for line, row in _rows(path, content.decode("utf-8"), columns(findings, covariates)):
        try:
            yield case_of(row, findings, covariates)
        except ValidationError as error:
            raise ManifestError(f"{path}, row {line}: {_problems(error)}.", AGAIN) from error
        except ValueError as error:
            raise ManifestError(f"{path}, row {line}: its series columns do not agree.", AGAIN) from error


def _file_rows(place: Path) -> Iterator[FileRow]:
    for line, row in _rows(place, table_text(_read(place)), FILE_COLUMNS):
        try:
            yield FileRow.model_validate(row)
        except ValidationError as error:
            raise ManifestError(f"{place}, row {line}: {_problems(error)}.", AGAIN) from error


def _rows(place: Path, text: str, expected: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each row with its number, the header line being 1; columns that older versions did not have may lack."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = next(reader, [])
        if found != [name for name in expected if name in found or name not in LATER]:
            raise ManifestError(f"{place} does not have the columns {', '.join(expected)}.", AGAIN)
        for line, cells in enumerate(reader, start=2):
            if len(cells) != len(found):
                raise ManifestError(f"{place}, row {line}: {len(cells)} cells, expected {len(found)}.", AGAIN)
            yield line, dict(zip(found, map(plain_cell, cells), strict=True))
    except csv.Error as error:
        raise ManifestError(f"{place} is damaged: {error}.", AGAIN) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}.", "Run `resdx ingest` first.") from error


def _problems(error: ValidationError) -> str:
    """Say what is wrong, without the values: those may be paths."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
