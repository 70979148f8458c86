"""The audit for leaks: a patient, or the same or nearly the same pixels, in two splits."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from pipeline.cohort.near_copies import Image, Thumbnails, near_copies
from pipeline.domain.case import Case
from pipeline.domain.frozen import Frozen
from pipeline.errors import LeakError

LISTED = 10
"""Longest list of leaks in a message."""

Kind = Literal["patient", "person", "pixels", "likeness"]

WORDS: dict[Kind, str] = {
    "patient": "one patient",
    "person": "one patient, by name, birth date and nearly by id",
    "pixels": "the same pixels",
    "likeness": "nearly the same image",
}


class Leak(Frozen):
    """What ties splits together that must know nothing of each other.

    Attributes
    ----------
    kind : str
        ``patient``: one patient stands in several splits; ``person``: one under several ids does; ``pixels``: one image
        stands in several splits, under several patients; ``likeness``: images that are nearly the same do.
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
    cases: Iterable[Case], thumbnails: Thumbnails | None, persons: Iterable[Collection[str]] = ()
) -> tuple[Leak, ...]:
    """Find the leaks among cases, in an order that does not depend on theirs.

    Images are the same when their files are, or, where it was taken, when their decoded voxels are. They are nearly
    the same by :mod:`pipeline.cohort.near_copies`, which is not asked where no thumbnails were kept (None).

    Parameters
    ----------
    persons : iterable of collections of str
        Patients that are one person each: :func:`pipeline.cohort.near_ids.same_persons`.
    """
    cases = tuple(cases)
    patients: dict[str, list[Case]] = defaultdict(list)
    images: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
        for image in {f"files {one.digest}" for one in case.series} | set(_voxels(case)):
            images[image].append(case)
    found = {_leak("patient", sharing) for sharing in patients.values() if _splits(sharing) > 1}
    for names in persons:
        sharing = [case for name in names for case in patients.get(name, ())]
        if _splits(sharing) > 1:
            found.add(_leak("person", sharing))
    for sharing in images.values():
        if _splits(sharing) > 1 and len({case.patient for case in sharing}) > 1:
            found.add(_leak("pixels", sharing))
    if thumbnails is not None:
        found |= {_leak("likeness", alike) for alike in _alike(cases, thumbnails)}
    return tuple(sorted(found, key=lambda leak: (leak.kind, leak.cases)))


def check(
    cases: Iterable[Case],
    thumbnails: Thumbnails | None,
    *,
    acknowledged: bool,
    persons: Iterable[Collection[str]] = (),
) -> int:
    """Return the number of leaks, which only an acknowledgement lets pass.

    Raises
    ------
    LeakError
        Naming patients and cases by pseudonym.
    """
    leaks = audit(cases, thumbnails, persons)
    if leaks and not acknowledged:
        more = [f"and {len(leaks) - LISTED} more"] if len(leaks) > LISTED else []
        listed = "\n".join(f"  - {line}" for line in [*map(str, leaks[:LISTED]), *more])
        raise LeakError(
            f"{len(leaks)} {'leak' if len(leaks) == 1 else 'leaks'} between splits:\n{listed}\n",
            "Remove the copies or correct the patients, and ingest again; or set `acknowledge_leaks: true` at ingest: "
            "every report then carries the count.",
        )
    return len(leaks)


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
