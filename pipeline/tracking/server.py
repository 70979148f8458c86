"""MLflow's own pages over a store, for this machine only."""

import os
import subprocess
import sys

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
    """Run the server until it ends or is interrupted; return its exit status (0 when interrupted)."""
    with subprocess.Popen(server_command(store, port), env=server_environment()) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0
