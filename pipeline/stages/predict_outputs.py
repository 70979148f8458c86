"""What each case leaves beside the tables: pictures, heatmaps on the scan's own grid, DICOM objects for the PACS.

The files of a case are written before its outcome is committed: a case that the ledger knows has all of them.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.scan_grid import onto_scan_grid, prepared_spacing
from pipeline.preprocessing.scans import PreparedScan
from pipeline.stages.predict_answer import CaseResult
from pipeline.stages.predict_output_settings import OutputSettings
from pipeline.writers.dicom_objects import CaseReport, ModelIdentity, object_paths
from pipeline.writers.dicom_sc import Config as CaptureConfig
from pipeline.writers.dicom_sending import Destination, echo
from pipeline.writers.dicom_sending import check_installed as check_sending_installed
from pipeline.writers.dicom_sr import Config as ReportConfig
from pipeline.writers.dicom_writing import DicomObjectWriter, write_objects
from pipeline.writers.film import contact_sheet, make_strips
from pipeline.writers.heatmaps import write_heatmap
from pipeline.writers.strip_files import save_strips, slug, strip_paths
from pipeline.writers.strips import Strips

log = logging.getLogger("resdx")

PICTURES, HEATMAPS, DICOM = "pictures", "heatmaps", "dicom"
"""Folders in that of a prediction."""

Heatmaps = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class CaseOutputs:
    """Writes the files of one case after another.

    Parameters
    ----------
    engine : str
        Kind of what runs the network, for the reports.

    Raises
    ------
    UsageError
        Something is asked for that cannot be made.
    """

    out: Path
    package: ModelPackage
    engine: str
    settings: OutputSettings

    def __post_init__(self) -> None:
        if self.settings.dicom.captures and self.settings.explain.method is None:
            raise UsageError("dicom.captures shows heatmaps, and none are made.", "Set explain.method.kind=hires_cam.")
        assert self.writers is not None
        if self.settings.dicom.send is not None:
            _check_sending(self.settings.dicom.send)

    @cached_property
    def writers(self) -> tuple[DicomObjectWriter, ...]:
        """Those of the DICOM objects that are wanted."""
        dicom = self.settings.dicom
        return (
            *([ReportConfig().build()] if dicom.report else []),
            *([CaptureConfig().build()] if dicom.captures else []),
        )

    def write(self, result: CaseResult, made: str) -> frozenset[str]:
        """Write all files of a case that was predicted, and remove those of an earlier answer; of a refused one, all.

        Returns the paths of what was written, below the folder of the predictions.

        Parameters
        ----------
        made : str
            When the case was first predicted (ISO 8601, with a time zone), for its DICOM objects.

        Raises
        ------
        RejectedInput
            A file of the scan changed meanwhile.
        DiskFull
        """
        case = result.request.case
        kept: set[Path] = set()
        try:
            kept = self._written(result, made)
        finally:  # also where they cannot be made: a case that is refused has no files
            for path in self._possible(case) - kept:
                path.unlink(missing_ok=True)
        return frozenset(path.relative_to(self.out).as_posix() for path in kept)

    def _written(self, result: CaseResult, made: str) -> set[Path]:
        case, scan = result.request.case, result.scan
        if result.outcome.prediction is None or scan is None:
            return set()
        kept = set(self._heatmaps(case, scan, result.heatmaps))
        kept |= set(self._objects(result, scan, datetime.fromisoformat(made)))
        if self.settings.pictures:
            kept |= save_strips(self.out / PICTURES, case, self._strips(scan, result.heatmaps))
        return kept

    @cached_property
    def _names(self) -> list[str]:
        return [finding.name for finding in self.package.findings]

    def _possible(self, case: str) -> set[Path]:
        """All files that an answer about a case may have left."""
        heatmaps = {self._heatmap(case, finding) for finding in self._names}
        pictures = strip_paths(self.out / PICTURES, case, self._names)
        return heatmaps | pictures | object_paths(self.out / DICOM, case, self._names)

    def _heatmap(self, case: str, finding: str) -> Path:
        return self.out / HEATMAPS / f"{case}.{self._names.index(finding)}-{slug(finding)}.nii.gz"

    def _strips(self, scan: PreparedScan, heatmaps: Heatmaps) -> Strips:
        plan = self.package.plan
        return make_strips(scan.image, prepared_spacing(scan.geometry, plan), plan.ndim, heatmaps)

    def _heatmaps(self, case: str, scan: PreparedScan, heatmaps: Heatmaps) -> Iterator[Path]:
        for finding, heat in heatmaps.items():
            path = self._heatmap(case, finding)
            write_heatmap(path, onto_scan_grid(heat, scan.geometry, self.package.plan), scan.geometry)
            yield path

    def _objects(self, result: CaseResult, scan: PreparedScan, made: datetime) -> Iterator[Path]:
        if not self.writers:
            return
        assert result.outcome.prediction is not None
        plan, package, method = self.package.plan, self.package, self.settings.explain.method
        spacing = prepared_spacing(scan.geometry, plan)
        report = CaseReport(
            prediction=result.outcome.prediction,
            findings=package.findings,
            model=ModelIdentity(
                name=package.card.name, digest=package.digest, software=__version__, engine=self.engine
            ),
            sources=list(result.request.files),
            made=made,
            sheets={
                finding: contact_sheet(scan.image, spacing, plan.ndim, heat)
                for finding, heat in result.heatmaps.items()
            },
            sheet_method=method.kind if method is not None else "",
        )
        every = [*write_objects(self.writers, self.out / DICOM, report)]
        paths = [path for written in every for path in written.paths]
        if not paths and every:  # a report without a capture is usual: most cases have nothing to show
            log.info("%s: no DICOM object, %s", result.request.case, every[0].reason)
        yield from paths


def _check_sending(destination: Destination) -> None:
    """Find out before work begins what would keep the objects here at its end: UsageError, or a line in the log.

    A PACS may be up again by then, so that its silence stops nothing.
    """
    check_sending_installed()
    if silent := echo(destination):
        log.warning("C-ECHO: %s; the objects are sent all the same when they are there", silent)
