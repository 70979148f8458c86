"""Configuration: one YAML file, one frozen object, all mistakes at once.

The mechanism only; each stage's settings stand with the stage, each part's with the part. A part is chosen by ``kind``,
which is the name of its file or sub-package: ``backbone: {kind: resnet}`` is ``pipeline/backbones/resnet.py::Config``.
The file is the registration, and no configuration can import code from outside the package.
"""

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import CoreSchema, PydanticUndefined
from pydantic_core.core_schema import no_info_wrap_validator_function

from pipeline.credentials import redacted
from pipeline.errors import ConfigError

PACKAGE = "pipeline"

MOST_MEANT = 2
"""Keys that an unknown one may stand for; more would be a guess."""

DEFINES_CONFIG = re.compile(r"^class Config\(|^from pipeline\.\S+ import .*\bConfig\b", re.MULTILINE)
"""What the source of a part shows: it defines ``Config``, or its package takes it from a module of its own."""


AsText = BeforeValidator(lambda value: str(value) if type(value) is int else value)
"""Marks a setting whose words look like numbers: YAML reads ``precision: 32`` as one."""


def _auto_or_count(value: object, validate: ValidatorFunctionWrapHandler) -> Literal["auto"] | int:
    if value != "auto" and not (type(value) is int and value >= 1):
        raise ValueError("should be auto or a whole number of at least 1")
    found: Literal["auto"] | int = validate(value)
    return found


AutoOrCount = Annotated[Literal["auto"] | int, WrapValidator(_auto_or_count)]
"""A whole number that a rule may choose; a mistake in it is one mistake, not one for each way to be right."""


class Settings(BaseModel):
    """Base of every configuration object: immutable, no unknown keys, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def load(
        cls,
        path: Path | None,
        overrides: Sequence[str] = (),
        values: Mapping[str, object] | None = None,
        origin: str = "the command line",
    ) -> Self:
        """Read a YAML file, set `values` by dotted key, apply ``a.b=c`` overrides and validate.

        Parameters
        ----------
        origin : str
            Where values and overrides come from, for messages.

        Raises
        ------
        ConfigError
            Listing every mistake by dotted key.
        """
        source = str(path) if path else "command line"
        data = _read_yaml(path) if path else {}
        problems = [problem for key, value in (values or {}).items() if (problem := _set(data, key, value))]
        problems += [problem for text in overrides if (problem := _apply_override(data, text))]
        if problems:
            raise ConfigError(source, problems)
        given = [*(values or {}), *(text.partition("=")[0] for text in overrides)] if path else []
        return cls._validated(data, source, given, origin)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], source: str = "configuration") -> Self:
        """Validate a mapping; see :meth:`load`."""
        return cls._validated(data, source, ())

    @classmethod
    def _validated(cls, data: Mapping[str, Any], source: str, given: Sequence[str], origin: str = "") -> Self:
        """Validate; mistakes in the keys that were `given` beside the file are told with their origin."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(source, [_describe(problem, cls, given, origin) for problem in error.errors()]) from error


class Part(Settings):
    """Base of the settings of a pluggable part. Subclasses are named ``Config`` and fix ``kind``.

    ``build(...)`` of the subclass makes the part; its arguments are those that the folder's ``__init__`` documents.
    """

    kind: str


class KindOf:
    """Marks a field as one of the parts of a folder: ``Annotated[Part, KindOf("pipeline.backbones")]``.

    The field is validated as a union over the ``Config`` of every part in the folder, told apart by ``kind``.

    Parameters
    ----------
    folder : str
    default : str
        The kind of a mapping that names none, so that ``backbone.depth=34`` is enough; without it a kind is required
        where the folder holds several.
    """

    def __init__(self, folder: str, default: str = "") -> None:
        assert folder.startswith(f"{PACKAGE}."), folder
        self.folder = folder
        self.default = default

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replace the abstract Part by the union of the folder's configs."""
        configs = [config for _, config in parts(self.folder)]
        assert configs, f"{self.folder} holds no part"
        if len(configs) == 1:
            return handler.generate_schema(configs[0])
        union: Any = Annotated[Union[tuple(configs)], Field(discriminator="kind")]  # noqa: UP007 - built at run time
        return no_info_wrap_validator_function(self._with_kind, handler.generate_schema(union))

    def _with_kind(self, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Read what names no kind as the default one; where that cannot be, say which kinds it fits."""
        if not (self.default and isinstance(value, Mapping) and "kind" not in value):
            return validate(value)
        try:
            return validate({"kind": self.default, **value})
        except ValidationError as error:
            fitting = [name for name, _ in parts(self.folder) if _is_valid(validate, {"kind": name, **value})]
            if not fitting:
                raise
            given = ", ".join(f"{key}={content}" for key, content in value.items())
            kinds = f"kind={' or '.join(fitting)}"
            raise ValueError(f"{given} needs {kinds}; without one it is read as {self.default}") from error


def _is_valid(validate: ValidatorFunctionWrapHandler, value: Mapping[str, Any]) -> bool:
    try:
        validate(value)
    except ValidationError:
        return False
    return True


@cache
def parts(folder: str) -> tuple[tuple[str, type[Part]], ...]:
    """Name and ``Config`` of each part in an open folder: its public modules that define one, in name order.

    The modules that parts share are not imported, so that listing the parts stays cheap.
    """
    package = importlib.import_module(folder)
    found: list[tuple[str, type[Part]]] = []
    for name in _part_names(Path(package.__path__[0])):
        config = importlib.import_module(f"{folder}.{name}").Config
        assert config.model_fields["kind"].default == name, f"{folder}.{name}: kind must be {name!r}"
        found.append((name, config))
    return tuple(found)


def _part_names(folder: Path) -> Iterator[str]:
    for entry in sorted(folder.iterdir()):
        source = entry / "__init__.py" if entry.is_dir() else entry
        if entry.name.startswith("_") or source.suffix != ".py" or not source.is_file():
            continue
        if DEFINES_CONFIG.search(source.read_text(encoding="utf-8")):
            yield entry.stem


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"is not valid YAML: {' '.join(str(error).split())}"]) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(str(path), [f"must hold keys and values, got {type(data).__name__}"])
    return data


def _apply_override(data: dict[str, Any], text: str) -> str:
    """Set ``a.b=c`` in nested mappings; return what is wrong with it, or an empty string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        return f"override {text!r} must look like key.subkey=value"
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return f"override {key}=...: the value is not valid YAML"
    return _set(data, key, parsed)


def _set(data: dict[str, Any], key: str, value: object) -> str:
    """Set a dotted key in nested mappings; return what is wrong with it, or an empty string."""
    *folders, last = key.split(".")
    target = data
    for name in folders:
        if target.get(name) is None:
            target[name] = {}
        target = target[name]
        if not isinstance(target, dict):
            return f"{key}: {name} is a value, it has no keys below it"
    target[last] = value
    return ""


def _describe(problem: Any, settings: type[BaseModel], given: Sequence[str], origin: str) -> str:
    """Turn one pydantic error into ``dotted.key: what was expected, what was given``."""
    location = [str(step) for step in problem["loc"]]
    beside = f" (of {origin})" if any(_leads_to(location, key.split(".")) for key in given) else ""
    return f"{_mistake(problem, location, settings)}{beside}"


def _leads_to(location: Sequence[str], key: Sequence[str]) -> bool:
    """Whether a key sets what stands at a location (there the kind of a part is a step of its own) or below it."""
    if not location or location[0] != key[0]:
        return False
    steps = iter(location)
    return all(step in steps for step in key) or list(key[: len(location)]) == list(location)


def _mistake(problem: Any, location: Sequence[str], settings: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"{'.'.join(location)}: unknown key{_meant(location, settings)}"
    if problem["type"] == "missing":
        return f"{'.'.join(location)}: is required"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "tuple_type":
        message = "should be a list, such as [a, b]"
    given = redacted(problem.get("input"))
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{'.'.join(location) or 'whole file'}: {message}{shown}"


def _meant(location: Sequence[str], settings: type[BaseModel]) -> str:
    """Name the keys that an unknown one may stand for: one beside it that is spelled alike, else its like elsewhere."""
    known = list(_leaves(yaml.safe_load(explain(settings))))
    sections = {step for *above, _ in known for step in above}
    section = tuple(step for step in location[:-1] if step in sections)  # without kinds of parts
    beside = [key[-1] for key in known if key[:-1] == section]
    close = [(*location[:-1], name) for name in get_close_matches(location[-1], beside, n=MOST_MEANT)]
    meant = [".".join(key) for key in close or known if close or key[-1] == location[-1]]
    return f"; did you mean {' or '.join(meant)}?" if 0 < len(meant) <= MOST_MEANT else ""


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name)


def to_yaml(settings: BaseModel) -> str:
    """Write resolved settings as YAML; a URL stands there without user and password."""
    return yaml.safe_dump(redacted(settings.model_dump(mode="json")), sort_keys=False, allow_unicode=True, width=120)


def schema(settings: type[Settings]) -> str:
    """JSON Schema of a settings class, for editors."""
    return json.dumps(settings.model_json_schema(), indent=2)


def explain(settings: type[BaseModel], indent: str = "") -> str:
    """Commented YAML with every key, its default and its description. Required keys show ``REQUIRED``."""
    lines: list[str] = []
    own = inspect.get_annotations(settings)  # what a class shares with others comes after what is its own
    for name, field in sorted(settings.model_fields.items(), key=lambda entry: entry[0] not in own):
        lines.extend(f"{indent}# {line}" for line in (field.description or "").splitlines())
        marker = next((item for item in field.metadata if isinstance(item, KindOf)), None)
        default = field.get_default(call_default_factory=True)
        if marker is not None:
            lines.extend(_explain_part(name, marker, default, indent))
        elif isinstance(default, BaseModel):
            lines.append(f"{indent}{name}:")
            lines.append(explain(type(default), indent + "  "))
        elif default is PydanticUndefined:
            lines.append(f"{indent}{name}: REQUIRED  # {_type_name(field.annotation)}")
        else:
            lines.append(f"{indent}{name}: {_yaml_value(default)}{_choices(field.annotation)}")
            lines.extend(f"{indent}#   {line}".rstrip() for line in _explain_absent(name, field.annotation))
    return "\n".join(lines)


def _explain_absent(name: str, annotation: Any) -> Iterator[str]:
    """Explain the settings that may stand where there are none by default."""
    for choice in get_args(annotation):
        marker = next((item for item in get_args(choice) if isinstance(item, KindOf)), None)
        if marker is not None:
            for _, config in parts(marker.folder):
                yield f"{name}:"
                yield from explain(config, "  ").splitlines()
        elif inspect.isclass(choice) and issubclass(choice, BaseModel):
            is_list = get_origin(annotation) is tuple
            lines = explain(choice, "    " if is_list else "  ").splitlines()
            if is_list:
                first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
                lines[first] = lines[first].replace("    ", "  - ", 1)
            yield from (f"{name}:", *lines)


def _explain_part(name: str, marker: KindOf, default: Any, indent: str) -> list[str]:
    """Explain the part that is the default, and what the other kinds have beside its settings."""
    known = dict(parts(marker.folder))
    chosen = type(default) if isinstance(default, BaseModel) else next(iter(known.values()))
    lines = [f"{indent}# kinds: {', '.join(known)}", f"{indent}{name}:", explain(chosen, indent + "  ")]
    for kind, config in known.items():
        extra = [key for key in config.model_fields if key not in chosen.model_fields]
        if extra:
            lines.append(f"{indent}  # kind: {kind} has also")
            lines += [f"{indent}  #   {line.strip()}" for key in extra for line in _explain_field(config, key)]
    return lines


def _explain_field(settings: type[BaseModel], name: str) -> list[str]:
    field = settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = "REQUIRED" if default is PydanticUndefined else _yaml_value(default)
    return [*(field.description or "").splitlines(), f"{name}: {shown}{_choices(field.annotation)}"]


def _choices(annotation: Any) -> str:
    if getattr(annotation, "__origin__", None) is Literal and len(annotation.__args__) > 1:
        return f"  # one of: {', '.join(map(str, annotation.__args__))}"
    return ""


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation)).replace("typing.", "")


def _yaml_value(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    elif isinstance(value, Path | StrEnum):
        value = str(value)
    elif isinstance(value, tuple):
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return text.removesuffix("...").strip()
