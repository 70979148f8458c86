"""A real MLflow server that goes away in the middle of a run and comes back."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipeline.errors import EXIT_OK
from pipeline.stages import sync
from pipeline.tracking import live
from pipeline.tracking.journal import journal_path
from pipeline.tracking.live import tracked
from pipeline.tracking.replay import replay
from pipeline.tracking.server import HOST, server_command, server_environment
from pipeline.tracking.settings import TrackingSettings, default_store


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = server_command(default_store(folder), port)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server_environment(), start_new_session=True)
    try:
        wait_until_it_answers(port)
        yield process
    finally:
        kill(process)


def wait_until_it_answers(port: int) -> None:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(total=300, backoff_factor=0.1, backoff_max=0.2)))
    session.get(f"http://{HOST}:{port}/health", timeout=60).raise_for_status()


def kill(process: subprocess.Popen[bytes]) -> None:
    """The server and the workers that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_dies_in_the_middle_costs_a_warning_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = TrackingSettings(uri=f"http://{HOST}:{port}", replay_seconds=3600, system_seconds=0)
    run_folder = tmp_path / "run"
    report = run_folder / "report.json"
    with server(tmp_path, port) as process, tracked(run_folder, settings) as journal:
        journal.params({"seed": 7})
        journal.metrics({"loss": 1.0}, 0)
        run_id = replay(run_folder, settings)
        kill(process)
        journal.metrics({"loss": 0.5}, 1)
        report.write_text("{}")
        journal.artifact(report)
    assert "cannot be used" in caplog.text
    assert f"resdx sync {tmp_path / 'run'}" in caplog.text

    with server(tmp_path, port):
        outcome = sync.run(sync.Config(run=run_folder))
        assert sync.run(sync.Config(run=run_folder)) == outcome
        client = MlflowClient(settings.uri)
        run = client.get_run(run_id)
        assert run_id in outcome.lines[0]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"seed": "7"}
        assert run.data.tags["version.resdx"]
        assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(0, 1.0), (1, 0.5)]
        assert [artifact.path for artifact in client.list_artifacts(run_id)] == ["environment", "report.json"]
        assert len(client.search_runs([run.info.experiment_id])) == 1


def test_a_failing_run_keeps_its_own_error_while_mlflow_is_away(tmp_path: Path) -> None:
    settings = TrackingSettings(uri=f"http://{HOST}:{free_port()}", replay_seconds=0.01, system_seconds=0.01)

    with pytest.raises(ZeroDivisionError), tracked(tmp_path / "run", settings) as journal:
        journal.metrics({"loss": 1.0}, 0)
        _ = 1 / 0

    lines = journal_path(tmp_path / "run").read_text().splitlines()
    assert '"status":"FAILED"' in lines[-1]


def test_a_server_that_accepts_and_never_answers_holds_up_the_end_no_longer_than_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "LAST_REPLAY_SECONDS", 0.5)
    waits: list[float] = []
    join = threading.Thread.join

    def noted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "resdx-replay":
            assert timeout is not None
            waits.append(timeout)
        join(thread, timeout)

    with socket.create_server((HOST, 0)) as silent:
        uri = f"http://{HOST}:{silent.getsockname()[1]}"
        settings = TrackingSettings(uri=uri, replay_seconds=0.01, system_seconds=0)
        with monkeypatch.context() as patch, tracked(tmp_path / "run", settings) as journal:
            patch.setattr(threading.Thread, "join", noted)
            silent.accept()[0].close()  # the first request is broken off: from here on the replay is under way
            journal.metrics({"loss": 1.0}, 0)
            caught = silent.accept()[0]
        waiting = [thread for thread in threading.enumerate() if thread.name == "resdx-replay"]
        assert waiting  # the run has ended; the one request is still unanswered
    caught.close()
    for thread in waiting:
        join(thread, 60)
    assert sum(waits) <= 0.5
    assert f"does not answer in time; later run: resdx sync {tmp_path / 'run'}" in caplog.text
    assert '"status":"FINISHED"' in journal_path(tmp_path / "run").read_text().splitlines()[-1]


def test_ui_takes_its_server_with_it_when_it_is_stopped(tmp_path: Path) -> None:
    with tracked(tmp_path / "run", TrackingSettings()):
        pass
    port = free_port()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", str(tmp_path), "--port", str(port)]
    said = tmp_path / "said.txt"
    with said.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
        wait_until_it_answers(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == EXIT_OK
    assert f"MLflow answers at http://{HOST}:{port} " in said.read_text()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{HOST}:{port}/health", timeout=5)
