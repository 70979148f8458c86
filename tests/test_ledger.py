"""One row a case, on disk when commit returns; nothing of another version, and nothing damaged, is read."""

import errno
import fcntl
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.domain.codes import Code
from pipeline.domain.prediction import FindingPrediction, Prediction
from pipeline.errors import LedgerError, UsageError
from pipeline.ledger import CaseOutcome, CaseRefusal, database, open_ledger, presence
from pipeline.ledger.database import connect

LESION = FindingPrediction(finding="lesion", probabilities={"no": 0.1 + 0.2, "yes": 0.7}, decision="yes", threshold=0.4)
PREDICTED = CaseOutcome(
    prediction=Prediction(
        case="C1", patient="P1", study="T1", series="S1", digest="d" * 64, model="m" * 64, findings=(LESION,)
    )
)
REFUSED = CaseOutcome(refusal=CaseRefusal(code=Code.GAP, stage="read", message="12.5 mm", sha256="f" * 64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "ledger.sqlite"


@pytest.fixture
def writable_by_others() -> Iterator[Path]:
    """A folder that any user reaches, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Heed modes, which root need not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_an_outcome_comes_back_as_it_was_given(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", PREDICTED)
        ledger.commit("k2", "C2", REFUSED)
    with open_ledger(path) as ledger:
        assert (ledger.find("k1"), ledger.find("k2"), ledger.find("k3")) == (PREDICTED, REFUSED, None)
        assert len(ledger) == 2


def test_a_second_outcome_takes_the_place_of_the_first(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", REFUSED)
        ledger.commit("k1", "C1", PREDICTED)
        assert (ledger.find("k1"), len(ledger)) == (PREDICTED, 1)


def test_an_outcome_is_a_prediction_or_a_refusal() -> None:
    for fields in ({}, {"prediction": PREDICTED.prediction, "refusal": REFUSED.refusal}):
        with pytest.raises(ValueError, match="a prediction or a refusal"):
            CaseOutcome(**fields)  # type: ignore[arg-type]


def test_a_commit_outlives_the_kill_that_follows_it(path: Path) -> None:
    script = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from pipeline.ledger import CaseOutcome, open_ledger\n"
        f"outcome = CaseOutcome.model_validate_json({PREDICTED.model_dump_json()!r})\n"
        f"with open_ledger(Path({str(path)!r})) as ledger:\n"
        "    for number in range(5):\n"
        "        ledger.commit(f'k{number}', 'C1', outcome)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with open_ledger(path) as ledger:
        assert len(ledger) == 5
        assert ledger.find("k4") == PREDICTED


def test_rows_are_synced_before_a_commit_returns(path: Path) -> None:
    with open_ledger(path) as ledger:
        modes = [ledger._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]  # 2: FULL


def test_another_version_is_refused_by_number(path: Path) -> None:
    with open_ledger(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(LedgerError, match=r"schema version 7.*reads 3"), open_ledger(path):
        pass


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
    with pytest.raises(LedgerError, match="no ledger of resdx"), open_ledger(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("runs",)]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"case,patient\n" * 400)
    with pytest.raises(LedgerError, match="damaged"), open_ledger(path):
        pass
    assert path.read_bytes() == b"case,patient\n" * 400


def test_a_torn_page_is_found_when_it_is_opened(path: Path) -> None:
    with open_ledger(path) as ledger:
        for number in range(200):
            ledger.commit(f"k{number:03}", "C1", PREDICTED)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="damaged"), open_ledger(path):
        pass


def test_an_edited_row_is_refused(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", PREDICTED)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outcomes SET outcome = '{}'")
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="damaged or was edited"):
        ledger.find("k1")


def test_a_full_disk_is_one_clear_message_and_keeps_what_was_there(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k0", "C1", PREDICTED)
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerError, match="full"):
            for number in range(1, 100):
                ledger.commit(f"k{number}", "C1", PREDICTED)
    with open_ledger(path) as ledger:
        assert ledger.find("k0") == PREDICTED


def test_what_one_process_has_claimed_no_other_takes(path: Path) -> None:
    with open_ledger(path) as one, open_ledger(path) as other:
        assert one.claim({"k1": "C1", "k2": "C2"}, after=0) == {"k1", "k2"}
        assert other.claim({"k1": "C1", "k2": "C2", "k3": "C3"}, after=0) == {"k3"}
        one.commit("k1", "C1", PREDICTED)
        assert (
            one.claim({"k1": "C1"}, after=0) == other.claim({"k1": "C1"}, after=0) == frozenset()
        )  # it has an outcome
        assert other.claim({"k1": "C1"}, after=one.revision) == {"k1"}  # an older one may be replaced
        assert (one.holds_claims, other.holds_claims) == (True, True)
        one.release()
        assert not one.holds_claims
        assert other.claim({"k2": "C2"}, after=0) == {"k2"}


def test_claims_end_with_the_ledger(path: Path) -> None:
    with open_ledger(path) as one:
        one.claim({"k1": "C1"}, after=0)
    with open_ledger(path) as other:
        assert other.claim({"k1": "C1"}, after=0) == {"k1"}


def test_the_claims_of_the_living_stay_and_those_of_the_dead_are_taken_over(path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.ledger import open_ledger\n"
        f"with open_ledger(Path({str(path)!r})) as ledger:\n"
        "    ledger.claim({'k1': 'C1'}, after=0)\n"
        "    print('in', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with open_ledger(path) as ledger:
            ledger.take_over()
            since = ledger.since_ns
            assert ledger.claim({"k1": "C1"}, after=0) == frozenset()
            first.kill()
            first.wait()
            ledger.take_over()
            assert ledger.since_ns > since  # only this process is left, which came later
            assert ledger.claim({"k1": "C1"}, after=0) == {"k1"}
    assert not list(path.parent.glob("*.lock"))


def test_many_processes_may_open_a_new_ledger_at_once(path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from pipeline.ledger import open_ledger\n"
        "input()\n"
        f"with open_ledger(Path({str(path)!r})) as ledger:\n"
        "    print(len(ledger.claim({f'k{n}': f'C{n}' for n in range(40)}, after=0)))\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", script]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    shares = [int(process.stdout.readline()) for process in started if process.stdout is not None]
    errors = [process.communicate("\n")[1] for process in started]
    assert errors == [""] * 4
    assert sorted(shares) == [0, 0, 0, 40]  # each claim is one transaction


def test_a_new_ledger_is_waited_for_while_another_process_makes_it(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        done.start()
        with open_ledger(path) as ledger:
            assert len(ledger) == 0
        done.join()


def test_a_new_ledger_that_another_program_never_lets_go_of_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"), open_ledger(path):
            pass


def test_new_ledgers_are_opened_by_several_at_once_again_and_again(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=60)

    def open_all(_: int) -> None:
        for number in range(25):
            together.wait()
            connect(tmp_path / f"{number}.sqlite").close()

    with ThreadPoolExecutor(together.parties) as threads:
        assert list(threads.map(open_all, range(together.parties))) == [None] * together.parties


def test_processes_of_two_machines_are_refused_and_of_two_containers_on_one_are_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = presence._machine()
    with open_ledger(path) as first:
        monkeypatch.setattr(socket, "gethostname", lambda: "container-b")
        with open_ledger(path):
            pass
        monkeypatch.setattr(presence, "BOOT_ID", path.parent / "absent")  # another kernel, or one that tells nothing
        said = rf"machine {here['host']} works in .*container-b\. Give .*own --out"
        with pytest.raises(UsageError, match=said), open_ledger(path):
            pass
        assert first.since_ns  # its file is still there
        assert len(list(path.parent.glob("*.lock"))) == 1
    with open_ledger(path):
        pass


def test_a_process_of_another_machine_that_has_ended_is_none(path: Path) -> None:
    path.parent.mkdir()
    left = path.with_name(f"{path.name}.0123456789abcdef.lock")
    left.write_text('{"host": "elsewhere", "kernel": "another"}')
    with open_ledger(path):
        assert not left.exists()


def test_a_folder_that_cannot_be_written_is_named(writable_by_others: Path) -> None:
    folder = writable_by_others / "out"
    folder.mkdir(mode=0o555)
    for out in (folder, folder / "new"):
        said = rf"{out} cannot be written by this user.*Give another"
        with as_nobody(), pytest.raises(LedgerError, match=said), open_ledger(out / "ledger.sqlite"):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(LedgerError, match=f"{path.parent} cannot hold the lock files.*local disk"), open_ledger(path):
        pass
    assert not list(path.parent.glob("*.lock"))


def test_what_is_kept_first_stays(path: Path) -> None:
    with open_ledger(path) as one, open_ledger(path) as other:
        assert one.kept("engine") is None
        assert one.keep("engine", "torch") == "torch"
        assert other.keep("engine", "onnx") == "torch"
    with open_ledger(path) as again:
        assert again.kept("engine") == "torch"


def test_earlier_predictions_of_a_question_are_found(path: Path) -> None:
    with open_ledger(path) as ledger:
        for key, question in (("old", "q"), ("new", "q"), ("of another model", "p")):
            ledger.commit(key, "C1", PREDICTED, question=question, seconds=0.5)
        ledger.commit("refused", "C1", REFUSED, question="q", seconds=2.0)
        assert list(ledger.earlier("q", {"new"})) == [PREDICTED.prediction]
        assert ledger.seconds({"new", "refused"}) == [0.5, 2.0]


def test_an_edited_row_is_not_believed(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", PREDICTED)
    with closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("SELECT outcome FROM outcomes").fetchone()
        edited = text.replace("C1", "C2")
        assert edited != text
        connection.execute("UPDATE outcomes SET outcome = ?", (edited,))
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="was edited"):
        ledger.find("k1")


def test_the_files_of_a_case_are_of_its_last_outcome_and_of_none_while_it_is_worked_on(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", PREDICTED, files=["pictures/C1.json"])
        assert ledger.files("k1", "C1") == (path.parent / "pictures" / "C1.json",)
        ledger.claim({"k2": "C1"}, after=0)
    with open_ledger(path) as ledger:  # the process ended amid its work
        assert ledger.files("k1", "C1") is None
        ledger.commit("k2", "C1", PREDICTED)
        assert ledger.files("k2", "C1") == ()
        assert ledger.files("k1", "C1") is None


def test_an_outcome_of_before_is_told_from_one_that_came_since(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.commit("k1", "C1", REFUSED)
        before = ledger.revision
        assert ledger.find("k1", after=before) is None
        ledger.commit("k1", "C1", PREDICTED)
        assert ledger.find("k1", after=before) == PREDICTED
