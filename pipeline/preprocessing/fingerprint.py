"""Measure the training split: geometry of every case from the manifest, intensities from a sample of its scans.

Only the split asked for is looked at, and nothing is decided here; see planning.py.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import UNKNOWN, Case, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.fingerprint import Fingerprint, Intensities, Spread
from pipeline.domain.frozen import digest
from pipeline.domain.geometry import Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.terms import IN_SUV
from pipeline.domain.volume import Volume
from pipeline.errors import PlanError, RejectedInput
from pipeline.progress import track

log = logging.getLogger("resdx")

SAMPLED_CASES = 100
"""Scans read for intensities, chosen by the digest of their pseudonym: the same ones on every run."""

SAMPLED_VOXELS = 50_000
"""Voxels a scan contributes to the pooled percentiles. Mean, deviation and range use all of its voxels."""

CT_AIR_BELOW = -950.0
"""Hounsfield units. In CT, darker voxels (air around the patient, padding that no header marks) are no foreground."""

WORLD_ORDER = {Plane.AXIAL: (0, 1, 2), Plane.CORONAL: (0, 2, 1), Plane.SAGITTAL: (2, 0, 1), Plane.NONE: (0, 1, 2)}
"""Stored axis (i, j, k) that runs along R, A, S, by the plane of the slices, rows along the patient's axes."""

Read = Callable[[Case], Volume]
Triple = tuple[float, float, float]


def measure(
    manifest: Manifest,
    split: Split,
    read: Read,
    *,
    sampled_cases: int = SAMPLED_CASES,
) -> Fingerprint:
    """Measure one split of a manifest.

    Shape, spacing and extent come from the manifest for every case (the first series gives the grid), in the
    order R, A, S; single images keep stored order. Intensities pool the valid voxels (padding excluded) of at most
    `sampled_cases` scans, read one at a time; for CT only those above -950 HU, so that the share of air in the field
    of view does not move the percentiles. MR has no such threshold: all valid voxels are pooled.

    Parameters
    ----------
    manifest : Manifest
    split : Split
    read : callable
        Reads the scan of a case. A scan that it refuses is left out of the intensities, with a warning.
    sampled_cases : int
        Cap on the scans read.

    Raises
    ------
    PlanError
        The split is empty, mixes modalities, dimensions, channels or (in 3D) units, or no scan could be read.
    """
    cases = manifest.of(split)
    if not cases:
        raise PlanError(f"No case of the manifest is in split {split.value!r}.", "Give labels and splits at ingest.")
    modality = _one_kind(cases)
    ndim = 2 if cases[0].series[0].shape[2] == 1 else 3
    units = {case.series[0].unit for case in cases}
    if ndim == 3 and Unit.PIXEL in units:
        raise PlanError(
            "Volumes of the split have no spacing in millimetres.", "Ingest again; the reader refuses them."
        )
    unit = Unit.MM if units == {Unit.MM} else Unit.PIXEL
    shapes, spacings = zip(*(_in_world_order(case, unit, ndim) for case in cases), strict=True)
    extents = np.asarray(shapes) * np.asarray(spacings)
    return Fingerprint(
        manifest=manifest.digest,
        split=split,
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        modality=modality,
        unit=unit,
        ndim=ndim,
        channels=_channels(cases[0]),
        shape=_spreads(np.asarray(shapes, dtype=np.float64)),
        spacing=_spreads(np.asarray(spacings, dtype=np.float64)),
        extent=_spreads(extents),
        intensities=_intensities(_sample(cases, sampled_cases), read, is_ct=modality == "CT" and unit is Unit.MM),
        suv=_is_suv(cases),
        labels={finding.name: _count_labels(cases, finding) for finding in manifest.findings},
    )


def _is_suv(cases: Sequence[Case]) -> bool:
    """Whether all cases are in standardized uptake values; raise where only some are."""
    found = {any(note.startswith(IN_SUV) for note in case.notes) for case in cases}
    if len(found) > 1:
        raise PlanError(
            "Some cases of the split are in standardized uptake values, others in the unit of the scanner.",
            "Ingest all of them with one value of `read.suv`.",
        )
    return found.pop()


def _one_kind(cases: Sequence[Case]) -> str:
    """Return the modality that all cases share; raise where they mix what no single network can take."""
    first = [case.series[0] for case in cases]
    modalities = Counter(series.modality for series in first)
    dimensions = Counter("2D" if series.shape[2] == 1 else "3D" for series in first)
    channels = Counter(str(_channels(case)) for case in cases)
    for what, found, remedy in (
        ("modalities", modalities, "Select one modality at ingest, e.g. `select.modality=CT`."),
        ("dimensions", dimensions, "Select single images or volumes at ingest, e.g. by modality or description."),
        ("numbers of channels", channels, "Select grey or colour images at ingest; they need networks of their own."),
    ):
        if len(found) > 1:
            counts = ", ".join(f"{name or 'none'}: {count}" for name, count in found.most_common())
            raise PlanError(f"The split mixes {what} ({counts} cases).", remedy)
    return first[0].modality


def _channels(case: Case) -> int:
    """Input channels of a case: those of its image, or one for each of its series and empty channels."""
    first = case.series[0]
    return first.of if first.of > 1 else first.channels


def _in_world_order(case: Case, unit: Unit, ndim: int) -> tuple[tuple[int, int, int], Triple]:
    series = case.series[0]
    order = (0, 1, 2) if ndim == 2 else WORLD_ORDER[series.plane]
    r, a, s = (series.shape[axis] for axis in order)
    if unit is Unit.PIXEL:
        return (r, a, s), (1.0, 1.0, 1.0)
    x, y, z = (series.spacing[axis] for axis in order)
    return (r, a, s), (x, y, z)


def _spreads(values: NDArray[np.float64]) -> tuple[Spread, Spread, Spread]:
    r, a, s = (_spread(values[:, axis]) for axis in range(3))
    return r, a, s


def _spread(values: NDArray[np.float64]) -> Spread:
    p10, median, p90 = (float(p) for p in np.percentile(values, [10, 50, 90]))
    return Spread(minimum=float(values.min()), p10=p10, median=median, p90=p90, maximum=float(values.max()))


def _count_labels(cases: Sequence[Case], finding: Finding) -> dict[str, int]:
    """Cases a class; a case without a known label counts nowhere."""
    counts = dict.fromkeys(finding.classes, 0)
    for case in cases:
        encoded = case.encoded_label(finding)
        if finding.kind is FindingKind.MULTILABEL:
            for name, value in zip(finding.classes, encoded, strict=True):
                counts[name] += value == 1
        elif encoded[0] != UNKNOWN:
            counts[finding.classes[encoded[0]]] += 1
    return counts


def _sample(cases: Sequence[Case], most: int) -> list[Case]:
    return sorted(cases, key=lambda case: digest(case.case))[:most]


@dataclass
class _Pool:
    """Running count, mean, squared deviation and range (Chan et al. 1983), and a sample for percentiles."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    sample: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: NDArray[np.float32], seed: int) -> None:
        """Merge the voxels of one scan."""
        mean, count = float(values.mean(dtype=np.float64)), values.size
        squares = float(values.var(dtype=np.float64)) * count
        delta, total = mean - self.mean, self.count + count
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total
        self.minimum, self.maximum = min(self.minimum, float(values.min())), max(self.maximum, float(values.max()))
        if count > SAMPLED_VOXELS:
            values = values[np.random.default_rng(seed).integers(0, count, SAMPLED_VOXELS)]
        self.sample.append(values.astype(np.float32))

    def intensities(self) -> Intensities:
        """Close the pool."""
        low, median, high = (float(p) for p in np.percentile(np.concatenate(self.sample), [0.5, 50, 99.5]))
        return Intensities(
            mean=self.mean,
            std=float(np.sqrt(self.squares / self.count)),
            p00_5=low,
            median=median,
            p99_5=high,
            minimum=self.minimum,
            maximum=self.maximum,
        )


def _intensities(cases: Sequence[Case], read: Read, *, is_ct: bool) -> Intensities:
    pool = _Pool()
    for case in track(cases, "measure intensities", len(cases)):
        try:
            volume = read(case)
        except RejectedInput as error:
            log.warning("case %s cannot be measured: %s %s", case.case, error.code, error.message)
            continue
        values = volume.valid_voxels()
        if is_ct:
            values = values[values > CT_AIR_BELOW]
        if values.size:
            pool.add(values, seed=int(digest(case.case)[:12], 16))
    if not pool.count:
        raise PlanError("No scan of the split could be read.", "See the warnings above; run `resdx ingest` again.")
    return pool.intensities()
