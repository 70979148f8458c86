"""Sending objects to a PACS: C-STORE and C-ECHO (PS3.4 B, A) over one association, with pynetdicom.

The optional extra ``resdx[send]``. What went wrong is an outcome of each file, never an exception: whether to try
again, and when, is the caller's to decide. :mod:`pipeline.writers.dicom_sent` remembers what need not be sent again.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from pipeline.config import Settings
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pynetdicom.association import Association

SUCCESS = 0x0000
WARNINGS = {
    0xB000: "it changed elements (coercion)",
    0xB006: "it dropped elements",
    0xB007: "the object does not match its SOP class",
}
"""Status codes with which a peer stores an object and complains (PS3.4 Table B.2-1)."""

WARNING_CLASS = 0xB
"""First of the four digits of every warning (PS3.7 Annex C), also of those that only this peer knows."""

UNREADABLE = (OSError, ValueError, AttributeError, KeyError, EOFError, InvalidDicomError)
"""What reading a file raises that is gone, or no DICOM object."""

AE_TITLE = r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$"
"""At most 16 printable characters, no backslash, not blank (PS3.5 6.2)."""


class Destination(Settings):
    """A storage provider (Storage SCP), such as a PACS."""

    host: str = Field(min_length=1, description="Name or address of the PACS.")
    port: int = Field(default=104, ge=1, le=65535, description="Port of its DICOM service.")
    called_ae: str = Field(max_length=16, pattern=AE_TITLE, description="AE title of the PACS.")
    ae_title: str = Field(
        default="RESDX", max_length=16, pattern=AE_TITLE, description="Our AE title; the PACS must know it."
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, description="How long to wait for a connection and for each answer."
    )
    max_pdu: int = Field(default=16382, ge=4096, le=131072, description="Largest packet that we take, in bytes.")

    @property
    def name(self) -> str:
        """Which archive this is, as a record of what was sent names it."""
        return f"{self.called_ae}@{self.host}:{self.port}"


class State(StrEnum):
    """What became of one file."""

    STORED = "stored"
    """The peer answered with success, 0x0000: it holds the object as it is."""

    WARNING = "warning"
    """The peer stored it and says that it is no longer the same, or not right: sending it again would not help."""

    REFUSED = "refused"
    """The peer answered and does not hold it; or the file is none that can be sent."""

    NOT_SENT = "not_sent"
    """There was no answer: no association, or it broke. Whether the peer holds the object is not known."""

    @property
    def is_held(self) -> bool:
        """Whether the peer says that it holds the object."""
        return self in (State.STORED, State.WARNING)


@dataclass(frozen=True, slots=True)
class Sending:
    """Outcome of one file.

    Attributes
    ----------
    uid : str
        SOPInstanceUID; empty where the file could not be read.
    status : int or None
        What the peer answered.
    reason : str
        Empty where it is stored; otherwise in words, without patient data.
    """

    path: Path
    uid: str
    state: State
    status: int | None = None
    reason: str = ""


NOTHING = Sending(Path(), "", State.NOT_SENT)


def send(files: Sequence[Path], destination: Destination) -> Iterator[Sending]:
    """C-STORE files over one association; yield the outcome of each as soon as it is known, in their order.

    Each is offered in its own transfer syntax, so that nothing is ever recoded. Where the association fails or breaks,
    the files that are left end as NOT_SENT.

    Raises
    ------
    UsageError
        ``resdx[send]`` is not installed.
    """
    check_installed()
    kinds = {path: _kind(path) for path in files}
    contexts = sorted({kind[:2] for kind in kinds.values() if kind is not None})
    with _association(destination, contexts) as (association, failure):
        for path in files:
            kind = kinds[path]
            if kind is None:
                yield Sending(path, "", State.REFUSED, reason="the file is no DICOM object that can be read")
            elif association is None:
                yield replace(failure, path=path, uid=kind[2])
            elif not association.is_established:
                yield Sending(path, kind[2], State.NOT_SENT, reason="the association broke")
            else:
                yield _store(path, kind[2], association)


def echo(destination: Destination) -> str:
    """C-ECHO: ask the peer for a sign of life; return an empty string, or why there is none.

    Raises
    ------
    UsageError
        ``resdx[send]`` is not installed.
    """
    check_installed()
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    with _association(destination, [(Verification, "1.2.840.10008.1.2")]) as (association, failure):
        if association is None:
            return failure.reason
        status = association.send_c_echo()
        code = status.get("Status")
        return "" if code == SUCCESS else _in_words(code)


def check_installed() -> None:
    """Say what to install where pynetdicom is missing, before work begins."""
    try:
        import pynetdicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Sending to a PACS needs pynetdicom, which is not installed.", "pip install 'resdx[send]'"
        ) from error


def uid_of(path: Path) -> str:
    """SOPInstanceUID of a file; empty where it is no DICOM object that can be read."""
    kind = _kind(path)
    return "" if kind is None else kind[2]


def _kind(path: Path) -> tuple[str, str, str] | None:
    """SOP class, transfer syntax and SOPInstanceUID of a file, or None."""
    try:
        meta = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        return str(meta.SOPClassUID), str(meta.file_meta.TransferSyntaxUID), str(meta.SOPInstanceUID)
    except UNREADABLE:
        return None


@contextmanager
def _association(
    destination: Destination, contexts: Sequence[tuple[str, str]]
) -> Iterator[tuple["Association | None", Sending]]:
    """Open an association, or say what becomes of every file without one; release it at the end."""
    from pynetdicom import AE

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its messages may quote elements, which name patients
    if not contexts:
        yield None, NOTHING
        return
    entity = AE(ae_title=destination.ae_title)
    entity.connection_timeout = destination.timeout_seconds
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = destination.timeout_seconds
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    try:
        association = entity.associate(
            destination.host, destination.port, ae_title=destination.called_ae, max_pdu=destination.max_pdu
        )
    except (OSError, UnicodeError) as error:  # the name has no address, say: the network may be back another time
        yield None, replace(NOTHING, reason=f"{destination.name} cannot be reached: {error}")
        return
    try:
        if association.is_established:
            yield association, NOTHING
        else:
            yield None, _failure(association, destination)
    finally:
        if association.is_established:
            association.release()


def _failure(association: "Association", destination: Destination) -> Sending:
    if association.rejected_contexts:
        return replace(NOTHING, state=State.REFUSED, reason=f"{destination.name} takes none of these kinds of object")
    return replace(NOTHING, reason=_why_none(association, destination))


def _why_none(association: "Association", destination: Destination) -> str:
    if association.is_rejected:
        return f"{destination.name} rejects {destination.ae_title}: it must know this title, and its own be right"
    return f"{destination.name} does not answer, or broke the association off"


def _store(path: Path, uid: str, association: "Association") -> Sending:
    try:
        dataset: Dataset = dcmread(path)
    except UNREADABLE:
        return Sending(path, uid, State.REFUSED, reason="the file can no longer be read")
    try:
        answer = association.send_c_store(dataset)
    except ValueError:  # no accepted presentation context, or the data set cannot be encoded
        return Sending(path, uid, State.REFUSED, reason="the peer does not take this kind of object")
    except RuntimeError:
        return Sending(path, uid, State.NOT_SENT, reason="the association broke")
    code = answer.get("Status")
    if code is None:
        return Sending(path, uid, State.NOT_SENT, reason=_in_words(None))
    if code == SUCCESS:
        return Sending(path, uid, State.STORED, code)
    if code >> 12 == WARNING_CLASS:
        complaint = WARNINGS.get(code, f"warns with status 0x{code:04X}")
        return Sending(path, uid, State.WARNING, code, f"the peer stored it, and {complaint}")
    return Sending(path, uid, State.REFUSED, code, _in_words(code))


def _in_words(code: int | None) -> str:
    return "the peer did not answer" if code is None else f"the peer answered with status 0x{code:04X}"
