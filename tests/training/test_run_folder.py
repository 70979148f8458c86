"""What a run folder keeps of its settings, and which settings it lets change."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import OutputError, UsageError
from pipeline.training.run_folder import alone, claim


class Store(Settings):
    url: str
    rate: float = 0.1


def test_a_password_is_not_kept_and_may_change_while_the_place_may_not(tmp_path: Path) -> None:
    def begin(url: str) -> bool:
        return claim(tmp_path, Store(url=url), {"source": url}, free=frozenset(), resume=True)

    assert not begin("postgresql://jane:hunter2@db/one")
    assert begin("postgresql://jane:swordfish@db/one")
    assert begin("postgresql://db/one")
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "settings.json"}
    assert not [path for path in tmp_path.iterdir() if "jane" in path.read_text()]
    with pytest.raises(UsageError, match="url: was 'postgresql://db/one', is 'postgresql://db/two'") as refused:
        begin("postgresql://jane:hunter2@db/two")
    assert "hunter2" not in str(refused.value)


def test_a_run_of_before_a_setting_was_there_goes_on_where_it_is_at_its_default(tmp_path: Path) -> None:
    class Later(Store):
        decay: float = 0.0

    assert not claim(tmp_path, Store(url="a"), {}, free=frozenset(), resume=True)
    with pytest.raises(UsageError, match=r"decay: was None, is 0\.5"):
        claim(tmp_path, Later(url="a", decay=0.5), {}, free=frozenset(), resume=True)
    assert claim(tmp_path, Later(url="a"), {}, free=frozenset(), resume=True)
    with pytest.raises(UsageError, match=r"decay: was 0\.0, is 0\.5"):
        claim(tmp_path, Later(url="a", decay=0.5), {}, free=frozenset(), resume=True)


def test_a_folder_that_cannot_be_made_or_locked_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/run cannot hold a run: Not a directory"), alone(tmp_path / "file/run"):
        pass

    def without_locks(lock: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(OutputError, match=r"run\.lock cannot be locked: No locks available.* local"), alone(tmp_path):
        pass
