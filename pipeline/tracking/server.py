"""MLflow's own pages over a store, for this machine only."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

from pipeline.tracking.settings import Store

HOST = "127.0.0.1"
"""The server has no passwords: it listens to this machine alone."""


def server_command(store: Store, port: int) -> tuple[str, ...]:
    """Command line of an MLflow server over a store."""
    command = (sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1")
    artifacts = ("--default-artifact-root", store.artifact_root) if store.artifact_root else ()
    return (*command, "--backend-store-uri", store.uri, *artifacts)


def server_environment() -> dict[str, str]:
    """Environment of the server: without MLflow's job workers, nine processes that judge language models."""
    return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ


def serve(store: Store, port: int) -> int:
    """Run the server until it ends, is interrupted or told to stop; return its exit status (0 when stopped).

    The server starts processes of its own: the whole group is ended with this one.
    """
    with subprocess.Popen(server_command(store, port), env=server_environment(), start_new_session=True) as server:
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            signal.signal(signal.SIGTERM, before)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
