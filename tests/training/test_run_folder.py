"""What a run folder keeps of its settings, and which settings it lets change."""

from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import UsageError
from pipeline.training.run_folder import claim


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
