"""All mistakes of a file at once, each by dotted key; parts chosen by kind."""

import json
from pathlib import Path
from typing import Annotated, Self

import pytest
import yaml
from pydantic import Field, model_validator

from pipeline.config import KindOf, Part, Settings, explain, parts, schema, to_yaml
from pipeline.errors import ConfigError


class Inner(Settings):
    rate: float = Field(default=0.5, gt=0, description="Learning rate.")
    steps: int = Field(default=10, description="Number of steps.")


class Outer(Settings):
    name: str = Field(description="Name of the run.")
    inner: Inner = Field(default=Inner(), description="The inner part.")
    backbone: Annotated[Part, KindOf("pipeline.backbones", default="resnet")] = Field(
        default_factory=lambda: dict(parts("pipeline.backbones"))["resnet"](), description="The network."
    )


def load(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return Outer.load(path, overrides)


def test_every_mistake_is_listed_by_dotted_key(tmp_path: Path) -> None:
    text = "inner: {rate: -1, steps: many, speed: 3}\nbackbone: {kind: resnet, depth: deep}\nextra: 1\n"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    for key in ("name: is required", "inner.rate:", "inner.steps:", "inner.speed: unknown key", "backbone", "extra:"):
        assert key in message, (key, message)
    assert "6 mistakes" in message
    assert caught.value.exit_code == 2


def test_an_unknown_key_names_what_it_may_stand_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: a\nsteps: 3\ninner: {raet: 1, speed: 3}\n")
    assert {one for one in caught.value.problems if "unknown" in one} == {
        "steps: unknown key; did you mean inner.steps?",
        "inner.raet: unknown key; did you mean inner.rate?",
        "inner.speed: unknown key",
    }


def test_a_key_of_the_same_name_elsewhere_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "inner: {rate: 1, name: 3}\n", "name=a")
    assert caught.value.problems == ("inner.name: unknown key; did you mean name?",)


def test_what_a_section_contradicts_is_told_with_the_key_that_was_given(tmp_path: Path) -> None:
    class Pair(Settings):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.low > self.high:
                raise ValueError("low lies above high")
            return self

    class Whole(Settings):
        pair: Pair = Pair()

    (tmp_path / "a.yaml").write_text("pair: {low: 3, high: 4}\n")
    with pytest.raises(ConfigError) as caught:
        Whole.load(tmp_path / "a.yaml", ["pair.high=2"], origin="the search")
    assert caught.value.problems == ("pair: low lies above high (of the search)",)


def test_passwords_of_a_mistake_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: a\n", "inner=http://me:secret@host", "name=@http://me:secret@host")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: a\n", "inner=http://me:secret@host")
    assert "host" in str(caught.value) and "secret" not in str(caught.value)


def test_a_word_where_a_list_belongs_is_told_how_lists_are_written(tmp_path: Path) -> None:
    class Words(Settings):
        unknown: tuple[str, ...] = ()

    with pytest.raises(ConfigError, match=r"unknown: should be a list, such as \[a, b\], got 'NA'"):
        Words.load(None, ["unknown=NA"])


def test_a_mistake_of_the_command_line_is_told_from_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "name: a\ninner: {rate: -1}\n", "inner.steps=many", "backbone.depth=deep")
    rate, steps, depth = caught.value.problems
    assert rate.startswith("inner.rate: ") and "command line" not in rate
    assert steps.startswith("inner.steps: ") and steps.endswith(" (of the command line)")
    assert depth.startswith("backbone.resnet.depth: ") and depth.endswith(" (of the command line)")


def test_a_part_without_kind_is_the_default_one_where_there_is_one(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\nbackbone: {depth: 34}\n").backbone.kind == "resnet"
    assert load(tmp_path, "name: a\nbackbone: {kind: slices, axis: 1}\n").backbone.kind == "slices"
    with pytest.raises(ConfigError, match=r"backbone: .*'unet'.*resnet"):
        load(tmp_path, "name: a\nbackbone: {kind: unet}\n")


def test_a_part_without_kind_that_only_others_can_be_names_them() -> None:
    class Engines(Settings):
        engine: Annotated[Part, KindOf("pipeline.engines", default="torch")]

    assert Engines.from_mapping({"engine": {"precision": "bf16"}}).engine.kind == "torch"
    for given, kinds in ({"exported": "folder"}, "auto or onnx or openvino"), ({"precision": "int8"}, "openvino;"):
        with pytest.raises(ConfigError, match=f"engine: .* needs kind={kinds}"):
            Engines.from_mapping({"engine": given})
    with pytest.raises(ConfigError, match=r"engine\.torch\.threads: .*integer"):
        Engines.from_mapping({"engine": {"threads": "many"}})


def test_overrides_set_nested_keys(tmp_path: Path) -> None:
    loaded = load(tmp_path, "name: a\n", "inner.rate=0.25", "name=b", "backbone.depth=34")
    assert (loaded.name, loaded.inner.rate, loaded.backbone.model_dump()["depth"]) == ("b", 0.25, 34)


@pytest.mark.parametrize("override", ["rate", "=1", "name.first=1", "inner.rate=[1"])
def test_a_wrong_override_is_explained(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=r"name|override"):
        load(tmp_path, "name: a\n", override)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load(tmp_path, text)


def test_yaml_executes_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(ConfigError):
        load(tmp_path, f"name: !!python/object/apply:os.system ['touch {marker}']\n")
    assert not marker.exists()


def test_infinite_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inner\.rate"):
        load(tmp_path, "name: a\ninner: {rate: .inf}\n")


def test_an_unknown_kind_names_the_known_ones() -> None:
    class Metrics(Settings):
        metric: Annotated[Part, KindOf("pipeline.evaluation.metrics")]

    with pytest.raises(ConfigError, match="auroc"):
        Metrics.from_mapping({"metric": {"kind": "os.system"}})


def test_resolved_settings_round_trip(tmp_path: Path) -> None:
    settings = load(tmp_path, "name: a\ninner: {steps: 3}\n")
    assert Outer.from_mapping(yaml.safe_load(to_yaml(settings))) == settings


def test_explained_settings_are_yaml_with_every_key() -> None:
    text = explain(Outer)
    keys = yaml.safe_load(text)
    assert set(keys) == {"name", "inner", "backbone"}
    assert keys["inner"] == {"rate": 0.5, "steps": 10}
    assert "# Learning rate." in text
    assert keys["backbone"]["kind"] == "resnet"


def test_what_may_stand_where_there_is_nothing_is_explained() -> None:
    class Job(Settings):
        inner: Inner | None = Field(default=None, description="A part that may be absent.")
        several: tuple[Inner, ...] = Field(default=(), description="Any number of them.")
        method: Annotated[Part, KindOf("pipeline.explanations")] | None = Field(default=None, description="A heatmap.")

    text = explain(Job)
    assert yaml.safe_load(text) == {"inner": None, "several": [], "method": None}
    shown = yaml.safe_load(
        "\n".join(line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   "))
    )
    assert shown["inner"] == {"rate": 0.5, "steps": 10}
    assert shown["several"] == [shown["inner"]]
    assert "method:\n#     kind: hires_cam" in text


def test_schema_names_the_parts() -> None:
    assert "resnet" in json.dumps(json.loads(schema(Outer)))


def test_words_that_look_like_numbers_stay_words() -> None:
    from pipeline.engines.torch import Config

    assert Config.load(None, ["precision=32"]).precision == "32"


def test_explanation_shows_what_other_kinds_have_beside() -> None:
    text = explain(Outer)
    assert "# kinds: resnet, slices" in text
    assert "#   axis: auto  # one of: auto, 0, 1, 2" in text
    assert yaml.safe_load(text.replace("REQUIRED", "x"))["backbone"]["kind"] == "resnet"
