"""A real MLflow server on a PostgreSQL of its own; both can be killed at any time and started again at once."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

HOST = "127.0.0.1"
USER = "mlflow"

NURSERY = """
import os, signal, sys
import uvicorn
from mlflow.server.fastapi_app import app
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
        os._exit(0)
    print(child, flush=True)
"""
"""Loads MLflow's server once, which takes seconds, and forks one at each line that it reads."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path | None:
    """Folder of initdb, pg_ctl and postgres; Debian keeps them off the path."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Database:
    """A PostgreSQL cluster; as root it runs as `nobody`, for PostgreSQL refuses root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        self._programs = programs
        self._folder = folder
        self._account: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._account |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._run("initdb", "-D", "data", "-A", "trust", "-U", USER, "--no-sync", "--no-instructions")

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://{USER}@{HOST}:{self.port}/postgres"

    def start(self) -> None:
        """Returns when connections are accepted; what a kill left is recovered."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses={HOST} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def kill(self) -> None:
        """SIGKILL for the server and each of its processes."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with _gone_is_fine():
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg2.connect(host=HOST, port=self.port, user=USER, dbname="postgres") as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return cursor.fetchall()

    def _run(self, program: str, *arguments: str) -> None:
        silent: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        done = subprocess.run([str(self._programs / program), *arguments], check=False, **silent, **self._account)
        log = self._folder / "log"
        assert done.returncode == 0, log.read_text() if log.exists() else program


class Server:
    """MLflow's tracking server over a database, with its artifacts in a folder."""

    def __init__(self, database: Database, artifacts: Path) -> None:
        self.port = free_port()
        self.uri = f"http://{HOST}:{self.port}"
        self._running = 0
        environment = os.environ | {
            "_MLFLOW_SERVER_FILE_STORE": database.uri,
            "_MLFLOW_SERVER_REGISTRY_STORE": database.uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self._log = (artifacts / "server.log").open("wb")
        self.nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def start(self) -> None:
        """Returns when it answers."""
        assert self.nursery.stdin is not None and self.nursery.stdout is not None
        print(file=self.nursery.stdin, flush=True)
        self._running = int(self.nursery.stdout.readline())
        session = requests.Session()
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=300, backoff_factor=0.1, backoff_max=0.2)))
        session.get(f"{self.uri}/health", timeout=60).raise_for_status()

    def kill(self) -> None:
        """SIGKILL."""
        process = psutil.Process(self._running)
        process.kill()
        psutil.wait_procs([process], timeout=30)

    def close(self) -> None:
        os.killpg(self.nursery.pid, signal.SIGKILL)
        self.nursery.wait()
        for stream in (self.nursery.stdin, self.nursery.stdout, self._log):
            assert stream is not None
            with _gone_is_fine():
                stream.close()


@contextmanager
def database_and_server(programs: Path) -> Iterator[tuple[Database, Server]]:
    """A fresh pair, neither of them started; all their processes end with the block."""
    # not pytest's folders: another account cannot enter them, and paths of sockets are short
    folder = Path(tempfile.mkdtemp(prefix="resdx-postgres-"))
    artifacts = Path(tempfile.mkdtemp(prefix="resdx-artifacts-"))
    stopping: list[Callable[[], None]] = []
    try:
        database = Database(programs, folder)
        stopping.append(database.kill)
        server = Server(database, artifacts)
        stopping.append(server.close)
        yield database, server
    finally:
        for stop in reversed(stopping):
            with _gone_is_fine():
                stop()
        for entry in (folder, artifacts):
            shutil.rmtree(entry)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError, BrokenPipeError):
        return
