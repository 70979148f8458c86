"""Which cases are of one patient: those that PatientID, or the patient column of the label file, says are.

Either can know what the other does not: an anonymiser may give each study of a patient a PatientID of its own, which a
label file still counts as one, and the other way round. So cases are of one patient where either ties them, also by way
of others: what is in one group stays in one split.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.cohort.label_join import Joined
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import Case

Name = Callable[[str], str]
"""From a raw patient id to its pseudonym."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Raw identifiers of one patient. PHI.

    Attributes
    ----------
    name : str
        The one of them that the pseudonym is made of.
    headers : frozenset of str
        PatientIDs of the headers of its cases.
    told : frozenset of str
        What the label file calls it.
    persons : frozenset of str
        See :attr:`pipeline.domain.series.Identity.person`.
    """

    name: str
    headers: frozenset[str]
    told: frozenset[str]
    persons: frozenset[str] = frozenset()

    @property
    def ids(self) -> frozenset[str]:
        """All of them."""
        return self.headers | self.told


@dataclass(frozen=True, slots=True)
class Patients:
    """The patients of all cases that say theirs.

    Attributes
    ----------
    of : dict of str to Patient
        By the unit key of a case. PHI.
    dummy : bool
        Whether all scans have one PatientID although the label file tells several patients, so that it is not followed.
    """

    of: Mapping[str, Patient] = field(default_factory=dict)
    dummy: bool = False

    def of_cases(self, cases: Iterable[Case], name: Name) -> dict[str, Patient]:
        """Patients of these cases, by pseudonym; without those of cases that say no patient."""
        found = {name(one.name): one for one in self.of.values()}
        return {case.patient: found[case.patient] for case in cases if case.patient in found}

    def other_names(self, name: Name) -> dict[str, frozenset[str]]:
        """Pseudonym of each patient to those that its other ids would have: it may have had one of them before."""
        return {
            name(one.name): frozenset(map(name, one.ids - {one.name})) for one in self.of.values() if len(one.ids) > 1
        }


def patients_of(candidates: Sequence[CaseCandidate], joined: Joined | None) -> Patients:
    """Group cases by patient.

    Where the label file has numbers of its own, a patient is named by them, for they are what a later export shares;
    else by PatientID, where there is one.

    Parameters
    ----------
    candidates : sequence of CaseCandidate
        Those that have a label, or all of an inventory.
    """
    headers = {one.unit_key: one.identity.patient_id for one in candidates}
    told = joined.patients if joined else {}
    has_own = joined is not None and joined.has_own_numbers
    dummy = has_own and len(set(headers.values())) == 1 and len(set().union(*told.values())) > 1
    if dummy:
        headers = {}
    keys = [one.unit_key for one in candidates]
    ids = {key: ({headers.get(key, "")} | told.get(key, frozenset())) - {""} for key in keys}
    whole = tied(ids.values())
    in_headers, in_file = frozenset(headers.values()), frozenset().union(*told.values())
    persons: dict[int, set[str]] = defaultdict(set)
    for one in candidates:
        if some := ids[one.unit_key]:
            persons[id(whole[min(some)])].add(one.identity.person)
    patients: dict[int, Patient] = {}
    for group in whole.values():
        if id(group) not in patients:
            parts = frozenset(group & in_headers), frozenset(group & in_file)
            first, second = reversed(parts) if has_own else parts
            patients[id(group)] = Patient(min(first or second), *parts, frozenset(persons[id(group)]) - {""})
    return Patients({key: patients[id(whole[min(some)])] for key, some in ids.items() if some}, dummy)


def patient_notes(patients: Patients, cases: Sequence[Case], name: Name) -> tuple[str, ...]:
    """Say what a reader should know about who the patients of these cases are. No identifiers."""
    known = patients.of_cases(cases, name)
    notes = []
    if patients.dummy:
        notes.append("All scans have one PatientID, which tells no patients apart: those of the label file are taken.")
    if several := sum(len(one.headers) > 1 for one in known.values()):
        notes.append(f"{several} patients of the label file have several PatientIDs in the headers; each counts once.")
    if shared := sum(len(one.told) > 1 for one in known.values()):
        notes.append(f"{shared} patients of the headers have several names in the label file; each counts once.")
    if nameless := sum(case.patient not in known for case in cases):
        notes.append(
            f"{nameless} cases have no patient id, neither in a header nor in the label file (labels.patient_column): "
            "each is counted as a patient of its own."
        )
    is_labelled = any(case.labels for case in cases)
    if is_labelled and len({case.patient for case in cases}) == 1 < len({case.study for case in cases}):
        notes.append(
            "All cases have one patient id. If an export was anonymised so, give the patients in a column of the label "
            "file (labels.patient_column), or export the scans with ids that tell them apart."
        )
    return tuple(notes)


def tied(groups: Iterable[Collection[str]]) -> dict[str, set[str]]:
    """Unite the sets that share a member; return each member's set."""
    found: dict[str, set[str]] = {}
    for members in groups:
        parts = {id(part): part for part in (found.setdefault(one, {one}) for one in members)}
        if len(parts) < 2:
            continue
        largest, *others = sorted(parts.values(), key=len, reverse=True)
        for part in others:
            largest |= part
            found |= dict.fromkeys(part, largest)
    return found
