"""A storage provider of pynetdicom that answers as it is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from phantoms.orthanc import free_port
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from pipeline.writers.dicom_sending import Destination


@contextmanager
def peer(answer: Callable[[Any], int], *sop_classes: str) -> Iterator[Destination]:
    """On a free port, for these SOP classes; `answer` gives the status of each object."""
    entity = AE(ae_title="PEER")
    for sop_class in sop_classes or (Comprehensive3DSRStorage, SecondaryCaptureImageStorage, Verification):
        entity.add_supported_context(sop_class)
    entity.require_called_aet = True
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield Destination(host="127.0.0.1", port=port, called_ae="PEER", timeout_seconds=10)
    finally:
        server.shutdown()
