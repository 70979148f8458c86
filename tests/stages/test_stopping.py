"""SIGTERM ends a verb, whatever the code that it interrupts catches."""

import contextlib
import pickle
import signal
import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import EXIT_SIGTERM, StoppedBySignal
from pipeline.readers.index import FolderIndex
from pipeline.stages.stopping import STARTS_AGAIN, finishing, stopping_on_sigterm


@pytest.mark.parametrize("caught", [ValueError, Exception])
def test_it_passes_those_who_catch_what_may_go_wrong_where_it_arrives(caught: type[Exception]) -> None:
    went_on = False
    with pytest.raises(StoppedBySignal, match="starts again"), stopping_on_sigterm(STARTS_AGAIN):
        with contextlib.suppress(caught):
            signal.raise_signal(signal.SIGTERM)
        went_on = True
    assert not went_on


def test_where_it_was_swallowed_all_the_same_the_verb_ends_as_stopped() -> None:
    done = False
    with pytest.raises(StoppedBySignal, match="goes on from here"), stopping_on_sigterm():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        done = True
    assert done


def test_where_it_became_another_error_the_verb_ends_as_stopped() -> None:
    with pytest.raises(StoppedBySignal) as stopped, stopping_on_sigterm():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("the library is confused") from error
    assert isinstance(stopped.value.__cause__, RuntimeError)


def test_a_short_piece_of_work_is_done_first() -> None:
    done = []
    with pytest.raises(StoppedBySignal), stopping_on_sigterm():
        with finishing():
            signal.raise_signal(signal.SIGTERM)
            done.append("first")
        done.append("second")
    assert done == ["first"]


def test_it_crosses_a_process_boundary_whole() -> None:
    again = pickle.loads(pickle.dumps(StoppedBySignal("Stopped.", "Go on.")))
    assert (str(again), again.remedy, again.exit_code) == ("Stopped. Go on.", "Go on.", EXIT_SIGTERM)


def test_an_index_that_is_being_read_is_not_taken_for_damaged(tmp_path: Path) -> None:
    index = FolderIndex(tmp_path / "index.sqlite")

    def interrupted(_: sqlite3.Connection) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedBySignal), stopping_on_sigterm():
        index._transaction(interrupted)
    assert index.path.is_file()
