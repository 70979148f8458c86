from pathlib import Path

import pytest

from pipeline.domain.codes import SKIPS, Code
from pipeline.errors import TrackingError, UsageError
from pipeline.stages import info, sync, ui
from pipeline.tracking.journal import FOLDER, FileJournal
from pipeline.tracking.live import tracked
from pipeline.tracking.provenance import code_tags, commit
from pipeline.tracking.settings import TrackingSettings, load_settings, save_settings
from pipeline.tracking.system import measure


@pytest.mark.parametrize("code", list(Code))
def test_info_explains_every_code(code: Code) -> None:
    first, meaning, remedy = info.run(info.Config(code=code.value.lower())).lines

    assert first == f"{code.value} ({'skipped' if code in SKIPS else 'rejected'})"
    assert len(meaning) > 20
    assert len(remedy) > 15


def test_info_names_similar_codes() -> None:
    with pytest.raises(UsageError, match=r"GAPP.*Did you mean GAP"):
        info.run(info.Config(code="GAPP"))
    with pytest.raises(UsageError, match="Known codes: NOT_AN_IMAGE"):
        info.run(info.Config(code="42"))


def test_info_describes_the_machine() -> None:
    text = "\n".join(info.run(info.Config()).lines)

    for expected in ("Versions", "  resdx 0.", "  torch 2.", "Devices", "cores usable", "Codecs", "JPEG-LS"):
        assert expected in text


def test_ui_finds_the_store_above_the_runs_and_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"holds no mlflow\.db"):
        ui.locate_store(str(tmp_path))
    (tmp_path / "mlflow.db").touch()

    expected = TrackingSettings().store(tmp_path / "run")
    assert ui.locate_store(str(tmp_path)) == expected
    assert ui.locate_store(str(tmp_path / "mlflow.db")) == expected
    assert ui.locate_store("postgresql://db/mlflow").uri == "postgresql://db/mlflow"
    with pytest.raises(TrackingError, match="pages of its own"):
        ui.locate_store("http://tracking:5000")


def test_sync_brings_a_run_that_was_not_tracked_live_to_the_store(tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    with tracked(run_folder, TrackingSettings(enabled=False, system_seconds=0)) as journal:
        journal.metrics({"loss": 1.0}, 0)
    assert not (tmp_path / "mlflow.db").exists()

    (line,) = sync.run(sync.Config(run=run_folder)).lines

    assert "holds all 5 records" in line
    assert (tmp_path / "mlflow.db").exists()


def test_sync_names_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no journal"):
        sync.run(sync.Config(run=tmp_path))
    FileJournal(tmp_path)
    with pytest.raises(TrackingError, match="was not tracked"):
        sync.run(sync.Config(run=tmp_path))


def test_passwords_are_not_kept_with_the_run(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    save_settings(tmp_path, TrackingSettings(uri="https://jane:hunter2@tracking.hospital/mlflow"))

    assert load_settings(tmp_path).uri == "https://tracking.hospital/mlflow"
    assert all("hunter2" not in file.read_text() for file in (tmp_path / FOLDER).iterdir())


def test_a_run_names_the_code_that_made_it() -> None:
    tags = code_tags()

    assert tags["version.torch"].startswith("2.")
    assert tags.get("git.commit", "") == commit()


def test_what_the_machine_does_is_recorded_under_the_names_that_mlflow_shows() -> None:
    measured = measure()

    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(measured)
    assert 0 < measured["system/process_memory_megabytes"] < measured["system/system_memory_usage_megabytes"]
    assert all(0 <= value <= 100 for name, value in measured.items() if name.endswith("percentage"))
