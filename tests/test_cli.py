"""The command line: help that teaches, one clear message, the right exit status."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import VERBS, app
from pipeline.domain.prediction import EarlierStatus, ScopeVerdict
from pipeline.shipped import find_config, shipped_configs

RUNNER = CliRunner()


def test_it_says_its_version() -> None:
    result = RUNNER.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"resdx {version('resdx')}\n"


@pytest.mark.parametrize("verb", [*VERBS, "config"])
def test_every_verb_explains_itself(verb: str) -> None:
    result = RUNNER.invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_is_explained(verb: str) -> None:
    result = RUNNER.invoke(app, ["config", verb])
    assert result.exit_code == 0, result.output
    keys = yaml.safe_load(result.output)
    schema = RUNNER.invoke(app, ["config", verb, "--schema"])
    properties = yaml.safe_load(schema.output)["properties"]
    assert set(keys) == set(properties)
    assert all(value.get("description") for value in properties.values()), verb


def test_a_wrong_configuration_lists_all_mistakes_and_exits_with_2(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("training: {epochs: -1, optimiser: sgd}\nnetwork: {backbone: {kind: vgg}}\n", encoding="utf-8")
    result = RUNNER.invoke(app, ["train", str(config)])
    assert result.exit_code == 2
    for key in ("manifest: is required", "out: is required", "training.epochs", "training.optimiser", "network.back"):
        assert key in result.output, result.output
    assert "Traceback" not in result.output


def test_a_missing_configuration_names_the_shipped_ones() -> None:
    result = RUNNER.invoke(app, ["train", "nonsense.yaml"])
    assert result.exit_code == 2
    assert "adrenal3d" in result.output


@pytest.mark.parametrize("path", sorted(shipped_configs().glob("*/*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_found_by_name(path: Path) -> None:
    assert find_config(path.parent.name, path.stem) == path


def test_info_explains_a_code() -> None:
    result = RUNNER.invoke(app, ["info", "gap"])
    assert result.exit_code == 0
    assert re.search(r"GAP.*\n.*meaning", result.output)


@pytest.mark.parametrize("word", [*EarlierStatus, *ScopeVerdict])
def test_info_explains_the_words_of_tables_that_are_no_codes(word: str) -> None:
    result = RUNNER.invoke(app, ["info", word])
    assert result.exit_code == 0
    assert re.search(rf"{word.upper()} \(.* in .*\.csv\)\n *meaning: .*\n *remedy: ", result.output)


def test_a_failure_is_one_message_and_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    arguments = ["plan", str(tmp_path / "absent.csv")]
    plain = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert "absent.csv" in plain.stderr
    assert "Traceback" not in plain.stderr
    debug = subprocess.run([*command, "--debug", *arguments], capture_output=True, text=True, check=False)
    assert "Traceback" in debug.stderr


def test_the_module_is_the_command_as_torchrun_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "train", "no-such-config"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no-such-config" in done.stderr
