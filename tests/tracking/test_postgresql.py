"""A real MLflow server on PostgreSQL: both die and return while a network trains and while its journal is replayed."""

import math
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from phantoms.mlflow_servers import Database, Server, database_and_server, postgres_programs
from phantoms.spheres import make_manifest, read

from pipeline.errors import TrackingError
from pipeline.package.package import load_package
from pipeline.stages import sync
from pipeline.stages.train import Config, train
from pipeline.tracking import live
from pipeline.tracking.journal import FileJournal, read_journal
from pipeline.tracking.records import Metrics
from pipeline.tracking.replay import replay
from pipeline.tracking.runs import load_progress
from pipeline.tracking.settings import TrackingSettings

PATIENCE = 120.0
"""Seconds after which a replay that is waited for counts as lost."""

LONGEST = 400
"""More requests than any replay of these tests makes."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Database, Server]]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("postgresql: initdb is not installed (Debian: apt-get install postgresql)")
    with database_and_server(programs) as pair:
        pair[0].start()
        yield pair


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


class Replays:
    """What the replays of a run that is under way came to."""

    def __init__(self, run_folder: Path, settings: TrackingSettings, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._settings = run_folder, settings
        self._outcomes: queue.Queue[bool] = queue.Queue()
        original = live.replay

        def noted(*arguments: Any) -> str:
            try:
                run_id = original(*arguments)
            except TrackingError:
                self._outcomes.put(False)
                raise
            self._outcomes.put(True)
            return run_id

        patch.setattr(live, "replay", noted)

    def wait_for_all(self) -> None:
        """Until MLflow holds what the journal holds now."""
        wanted = read_journal(self._folder)[-1].seq
        while (progress := load_progress(self._folder, self._settings.store(self._folder))) is None or (
            progress.done < wanted
        ):
            self._outcomes.get(timeout=PATIENCE)

    def wait_for_failure(self) -> None:
        """Until a replay that ended after this call failed; something must be there to be sent."""
        while not self._outcomes.empty():
            self._outcomes.get_nowait()
        while self._outcomes.get(timeout=PATIENCE):
            pass


def after_epochs(acts: dict[int, Callable[[], None]], patch: pytest.MonkeyPatch) -> None:
    """Let something happen in the thread of training when an epoch has been recorded."""
    original = FileJournal.metrics

    def recorded(journal: FileJournal, values: Any, step: int) -> None:
        original(journal, values, step)
        if "val/loss" in values:
            acts[step]()

    patch.setattr(FileJournal, "metrics", recorded)


def measured(run_folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each metric of a journal: (step, value) by step, as measured first."""
    found: dict[str, dict[int, float]] = {}
    for record in read_journal(run_folder):
        for name, value in record.values.items() if isinstance(record, Metrics) else ():
            found.setdefault(name, {}).setdefault(record.step, value)
    return {name: sorted(values.items()) for name, values in found.items()}


def held(client: MlflowClient, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Each metric of a run: (step, value) by step, doubles included."""
    names = client.get_run(run_id).data.metrics
    return {name: sorted((m.step, m.value) for m in client.get_metric_history(run_id, name)) for name in names}


def test_training_goes_on_while_server_and_database_die_and_nothing_is_lost_or_doubled(
    pair: tuple[Database, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database, server = pair
    out = tmp_path / "run"
    tracking = TrackingSettings(uri=server.uri, replay_seconds=0.05, system_seconds=0, registered_model="spheres")
    settings: dict[str, Any] = {
        "manifest": "cohort.csv",
        "out": str(out),
        "processes": 0,
        "network": {"backbone": {"kind": "resnet", "width": 4}},
        "plan": {"precision": "32", "batch_size": 8},
        "training": {"epochs": 3, "accelerator": "cpu", "depth_watch": {"enabled": False}},
        "tracking": tracking.model_dump(),
    }
    replays = Replays(out, tracking, monkeypatch)
    senders: set[str] = set()
    request = requests.Session.request

    def noted(*arguments: Any, **options: Any) -> requests.Response:
        if not str(arguments[2]).endswith("/health"):  # the test's own question
            senders.add(threading.current_thread().name)
        return request(*arguments, **options)

    def server_comes_and_database_dies() -> None:
        replays.wait_for_failure()
        server.start()
        replays.wait_for_all()
        database.kill()

    def database_returns_and_server_dies() -> None:
        replays.wait_for_failure()
        database.start()
        replays.wait_for_all()
        server.kill()

    def server_returns_and_both_die() -> None:
        replays.wait_for_failure()
        server.start()
        replays.wait_for_all()
        server.kill()
        database.kill()

    acts = [server_comes_and_database_dies, database_returns_and_server_dies, server_returns_and_both_die]
    with monkeypatch.context() as during:
        during.setattr(requests.Session, "request", noted)
        after_epochs(dict(enumerate(acts, start=1)), during)
        outcome = train(Config.from_mapping(settings), make_manifest(train=16, validation=8, test=0), read)
    assert outcome.exit_code == 0
    assert "resdx-replay" in senders
    assert threading.main_thread().name not in senders  # training itself never waits for an answer
    assert f"resdx sync {tmp_path / 'run'}" in caplog.text

    database.start()
    server.start()
    senders.clear()
    sync.run(sync.Config(run=out))
    sync.run(sync.Config(run=out))

    client = MlflowClient(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'resdx'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    journal = measured(out)
    assert [step for step, _ in journal["val/loss"]] == [1, 2, 3]
    assert held(client, run.info.run_id) == journal
    version = client.get_model_version_by_alias("spheres", "candidate")
    assert version.tags["resdx.model"] == load_package(out / "package").digest
    assert len(client.search_model_versions("name = 'spheres'")) == 1
    assert len(client.search_logged_models([experiment.experiment_id])) == 1


def killed_at(number: int, answered: bool, run_folder: Path, settings: TrackingSettings) -> int:
    """Replay in a process that is killed at its n-th request, before it is sent or when it was answered."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0
    request = requests.Session.request

    def counted(*arguments: Any, **options: Any) -> requests.Response:
        nonlocal count
        count += 1
        response = request(*arguments, **options) if count < number or answered else None
        if response is None or count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        assert response is not None
        return response

    try:
        requests.Session.request = counted  # type: ignore[method-assign] # of this process alone, which ends here
        replay(run_folder, settings)
        os._exit(0)
    finally:
        os._exit(1)


def journal_of_all_kinds(run_folder: Path) -> None:
    """One of each record, metrics that PostgreSQL cannot hold as they are among them."""
    journal = FileJournal(run_folder)
    journal.params({"seed": 7, "config": "x" * 300})
    journal.tags({"resdx.manifest": "d" * 64})
    journal.dataset("cohort-train", "d" * 64, "training", ["lesion"], {"cases": 3})
    journal.metrics({"val/loss": 0.5, "broken": math.nan, "high": math.inf, "low": -math.inf}, 1)
    (run_folder / "report.json").write_text("{}")
    journal.artifact(run_folder / "report.json")
    journal.metrics({"val/loss": 0.25}, 2)
    (run_folder / "package").mkdir()
    (run_folder / "package" / "package.json").write_text("{}")
    journal.model(run_folder / "package", run_folder.name, name=run_folder.name, alias="candidate")
    journal.end("FINISHED")
    journal.close()


def check_exactly_once(pair: tuple[Database, Server], run_folder: Path, run_id: str) -> None:
    client = MlflowClient(pair[1].uri)
    run = client.get_run(run_id)
    name = run_folder.name
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "7"}
    assert run.data.tags["resdx.manifest"] == "d" * 64
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == ("cohort-train", "d" * 36, "training")
    (made,) = run.outputs.model_outputs
    stored = f"SELECT key, step, count(*) FROM metrics WHERE run_uuid = '{run_id}' GROUP BY key, step ORDER BY 1, 2"
    assert pair[0].rows(stored) == [
        ("broken", 1, 1),
        ("high", 1, 1),
        ("low", 1, 1),
        ("val/loss", 1, 1),
        ("val/loss", 2, 1),
    ]
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "val/loss")] == [(1, 0.5), (2, 0.25)]
    assert {entry.path for entry in client.list_artifacts(run_id)} == {"params", "report.json"}
    assert len(client.search_runs([run.info.experiment_id], f"attributes.run_name = '{name}'")) == 1
    assert len(client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")) == 1
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert version.source == f"models:/{made.model_id}"
    assert client.get_model_version_by_alias(name, "candidate").version == version.version


@pytest.fixture
def settings(pair: tuple[Database, Server]) -> TrackingSettings:
    try:
        requests.get(f"{pair[1].uri}/health", timeout=60)
    except requests.ConnectionError:
        pair[1].start()
    return TrackingSettings(uri=pair[1].uri, experiment="killed")


def test_a_replay_killed_again_and_again_one_request_further_sends_each_record_once(
    pair: tuple[Database, Server], settings: TrackingSettings, tmp_path: Path
) -> None:
    run_folder = tmp_path / "further"
    journal_of_all_kinds(run_folder)

    kills = 0
    while killed_at(kills + 1, kills % 2 == 0, run_folder, settings) == -signal.SIGKILL:
        kills += 1
        assert kills < LONGEST

    assert kills >= 5
    check_exactly_once(pair, run_folder, replay(run_folder, settings))


@pytest.mark.long
@pytest.mark.parametrize("answered", [False, True])
def test_a_replay_killed_at_any_request_sends_each_record_once(
    pair: tuple[Database, Server], settings: TrackingSettings, tmp_path: Path, answered: bool
) -> None:
    for number in range(1, LONGEST):
        run_folder = tmp_path / f"at{number}{'after' if answered else 'before'}"
        journal_of_all_kinds(run_folder)
        code = killed_at(number, answered, run_folder, settings)
        check_exactly_once(pair, run_folder, replay(run_folder, settings))
        if code == 0:
            return
        assert code == -signal.SIGKILL
    pytest.fail("the replay never came to its end")
