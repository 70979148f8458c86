"""A real Orthanc, which can be stopped and started again at any time."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.writers.dicom_sending import Destination

HOST = "127.0.0.1"
AE_TITLE = "ORTHANC"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """An Orthanc with its storage in a folder, which outlives a stop."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
        if not program:
            pytest.skip("orthanc: it is not installed (Debian: apt-get install orthanc)")
        self._program = program
        self._folder = folder
        self._http = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.destination = Destination(
            host=HOST, port=free_port(), called_ae=AE_TITLE, ae_title="RESDX", timeout_seconds=20
        )
        settings = {
            "Name": "resdx test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpPort": self._http,
            "DicomPort": self.destination.port,
            "DicomAet": AE_TITLE,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")

    def start(self) -> None:
        """Returns when it listens for DICOM."""
        self._process = subprocess.Popen(
            [self._program, str(self._folder / "orthanc.json")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self._folder,
        )
        assert self._process.stdout
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Orthanc has started" in line:
                break
        else:
            raise AssertionError("Orthanc did not start: " + "".join(said[-20:]))
        self._reader = threading.Thread(target=self._process.stdout.read)  # a full pipe would stop it
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL, as a power cut."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in an orderly way, if it runs."""
        self._end(signal.SIGTERM)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait(timeout=30)
            self._reader.join(timeout=30)
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def get(self, path: str) -> Any:
        """JSON of its REST interface."""
        return json.loads(self.content(path))

    def content(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{HOST}:{self._http}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def instances(self) -> dict[str, str]:
        """SOPInstanceUID to Orthanc's own name, of all that it holds."""
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in self.get("/instances?expand")}


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    server = Orthanc(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
