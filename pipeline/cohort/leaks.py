"""The audit for leaks: a patient, or the same or nearly the same pixels, in two splits."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from pipeline.cohort.near_copies import Image, Thumbnails, near_copies
from pipeline.cohort.slices import sharing
from pipeline.domain.case import Case
from pipeline.domain.frozen import Frozen
from pipeline.errors import LeakError

LISTED = 10
"""Longest list of leaks in a message."""

Kind = Literal["patient", "person", "pixels", "slices", "likeness"]

WORDS: dict[Kind, str] = {
    "patient": "one patient",
    "person": "one patient, by name, birth date and nearly by id",
    "pixels": "the same pixels",
    "slices": "most slices the same",
    "likeness": "nearly the same image",
}


class Leak(Frozen):
    """What ties splits together that must know nothing of each other.

    Attributes
    ----------
    kind : str
        ``patient``: one patient stands in several splits; ``person``: one under several ids does; ``pixels``: one image
        stands in several splits, under several patients; ``slices``: most slices of one do; ``likeness``: images that
        are nearly the same do.
    cases : tuple of str
        All cases that share the patient or the image, by pseudonym; ``patients`` and ``splits`` are theirs, in order.
    """

    kind: Kind
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    splits: tuple[str, ...]

    def __str__(self) -> str:
        places = ", ".join(
            f"{patient} ({split}, case {case})"
            for patient, split, case in sorted(zip(self.patients, self.splits, self.cases, strict=True))
        )
        return f"{WORDS[self.kind]}: {places}"


def audit(
    cases: Iterable[Case],
    thumbnails: Thumbnails | None,
    persons: Iterable[Collection[str]] = (),
    slices: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[Leak, ...]:
    """Find the leaks among cases, in an order that does not depend on theirs.

    Images are the same when their files are, or, where it was taken, when their decoded voxels are. They are nearly
    the same by :mod:`pipeline.cohort.near_copies`, which is not asked where no thumbnails were kept (None).

    Parameters
    ----------
    persons : iterable of collections of str
        Patients that are one person each: :func:`pipeline.cohort.near_ids.same_persons`.
    slices : mapping of str to bytes
        Pseudonym of a series to the digests of its slices; see :mod:`pipeline.cohort.slices`.
    """
    cases = tuple(cases)
    patients: dict[str, list[Case]] = defaultdict(list)
    images: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
        for image in {f"files {one.digest}" for one in case.series} | set(_voxels(case)):
            images[image].append(case)
    found = {_leak("patient", own) for own in patients.values() if _splits(own) > 1}
    for names in persons:
        own = [case for name in names for case in patients.get(name, ())]
        if _splits(own) > 1:
            found.add(_leak("person", own))
    for alike in images.values():
        if _splits(alike) > 1 and len({case.patient for case in alike}) > 1:
            found.add(_leak("pixels", alike))
    found |= {_leak("slices", pair) for pair in _sharing(cases, slices)}
    if thumbnails is not None:
        found |= {_leak("likeness", alike) for alike in _alike(cases, thumbnails)}
    return tuple(sorted(found, key=lambda leak: (leak.kind, leak.cases)))


def check(
    cases: Iterable[Case],
    thumbnails: Thumbnails | None,
    *,
    acknowledged: bool,
    persons: Iterable[Collection[str]] = (),
    slices: Mapping[str, bytes] = MappingProxyType({}),
) -> int:
    """Return the number of leaks, which only an acknowledgement lets pass.

    Raises
    ------
    LeakError
        Naming patients and cases by pseudonym.
    """
    leaks = audit(cases, thumbnails, persons, slices)
    if leaks and not acknowledged:
        more = [f"and {len(leaks) - LISTED} more"] if len(leaks) > LISTED else []
        listed = "\n".join(f"  - {line}" for line in [*map(str, leaks[:LISTED]), *more])
        raise LeakError(
            f"{len(leaks)} {'leak' if len(leaks) == 1 else 'leaks'} between splits:\n{listed}\n",
            "Remove the copies or correct the patients, and ingest again; or set `acknowledge_leaks: true` at ingest: "
            "every report then carries the count.",
        )
    return len(leaks)


def _sharing(cases: Sequence[Case], slices: Mapping[str, bytes]) -> Iterator[list[Case]]:
    """Yield pairs of cases of two patients and splits that share most slices of an image, and not the whole image."""
    found = [(case, one) for case in cases for one in case.series if slices.get(one.series)]
    for i, j in sharing([slices[one.series] for _, one in found]):
        (case, image), (other, second) = found[i], found[j]
        if _splits([case, other]) > 1 and case.patient != other.patient and image.voxels != second.voxels:
            yield [case, other]


def _alike(cases: Sequence[Case], thumbnails: Thumbnails) -> Iterator[list[Case]]:
    """Yield groups of cases that pairs of near copies tie together."""
    found = [(case, one) for case in cases for one in case.series]
    images = [
        Image(one.series, one.likeness, (case.patient, str(case.split), one.voxels or one.digest))
        for case, one in found
    ]
    group = {case.case: [case] for case in cases}
    for i, j in near_copies(images, thumbnails):
        one, other = group[found[i][0].case], group[found[j][0].case]
        if one is not other:
            more, fewer = (one, other) if len(one) >= len(other) else (other, one)
            more += fewer
            group |= dict.fromkeys((case.case for case in fewer), more)
    yield from {id(tied): tied for tied in group.values() if len(tied) > 1}.values()


def _voxels(case: Case) -> Iterator[str]:
    return (f"voxels {one.voxels}" for one in case.series if one.voxels)


def _splits(cases: Sequence[Case]) -> int:
    return len({case.split for case in cases})


def _leak(kind: Kind, cases: Sequence[Case]) -> Leak:
    ordered = sorted(cases, key=lambda case: case.case)
    return Leak(
        kind=kind,
        cases=tuple(case.case for case in ordered),
        patients=tuple(case.patient for case in ordered),
        splits=tuple(str(case.split or "no split") for case in ordered),
    )
