"""The house: rows, doors, parts that stand alone, no cycles, cheap entry points."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pipeline"

ROWS = {
    "credentials": 0,
    "errors": 0,
    "machine": 0,
    "config": 1,
    "workers": 1,
    "atomic": 1,
    "progress": 1,
    "shipped": 1,
    "domain": 2,
    "ledger": 3,
    "readers": 3.5,
    "cohort": 4,
    "preprocessing": 4,
    "data": 5,
    "backbones": 5,
    "evaluation": 5,
    "networks": 6,
    "training": 7,
    "package": 8,
    "tracking": 8,
    "engines": 9,
    "explanations": 9,
    "scope": 9,
    "writers": 9,
    "stages": 10,
    "cli": 11,
}
PART_FOLDERS = ("readers", "backbones", "evaluation.metrics", "engines", "explanations", "writers")
DOORS = {
    "pydicom": ("readers.dicom", "writers.dicom", "cohort.deidentified", "stages.demo"),
    "highdicom": ("readers.dicom", "writers.dicom", "cohort.deidentified", "stages.demo"),
    "pynetdicom": ("writers.dicom",),
    "SimpleITK": ("readers.second_opinion",),
    "nibabel": ("readers.nifti", "writers.nifti"),
    "mlflow": ("tracking",),
    "pytorch_lightning": ("data", "training", "stages"),
    "lightning": (),
    "optuna": ("training.search",),
    "ray": ("stages.predict_ray",),
}
HEAVY = ("torch", "monai", "pytorch_lightning", "mlflow", "pydicom", "pandas", "scipy", "matplotlib", "optuna", "ray")


def modules() -> dict[str, Path]:
    """Dotted name below ``pipeline`` to file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = path
    return found


MODULES = modules()


def imports(path: Path, *, deferred: bool) -> Iterator[str]:
    """Absolute names that a module imports; with `deferred` also those inside functions, never TYPE_CHECKING ones."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(_statements(tree.body, deferred))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _statements(body: list[ast.stmt], deferred: bool) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not deferred:
            continue
        for field in ("body", "orelse", "finalbody", "handlers"):
            for child in getattr(node, field, []):
                if isinstance(child, ast.ExceptHandler):
                    yield from _statements(child.body, deferred)
                elif isinstance(child, ast.stmt):
                    yield from _statements([child], deferred)


def own_imports(name: str, *, deferred: bool) -> set[str]:
    """Modules of ours that module `name` imports."""
    found = set()
    for imported in imports(MODULES[name], deferred=deferred):
        if not imported.startswith("pipeline."):
            continue
        target = imported.removeprefix("pipeline.")
        while target and target not in MODULES:
            target = target.rpartition(".")[0]
        if target and target != name:
            found.add(target)
    return found


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_a_row() -> None:
    assert {room(name) for name in MODULES} <= set(ROWS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    for target in own_imports(name, deferred=True):
        if room(target) != room(name):
            assert ROWS[room(target)] < ROWS[room(name)], f"{name} imports {target}, which is not below it"


@pytest.mark.parametrize("name", MODULES)
def test_doors(name: str) -> None:
    for imported in imports(MODULES[name], deferred=True):
        library = imported.split(".")[0]
        if library in DOORS:
            assert name.startswith(DOORS[library]), f"{name} imports {library}, which stays behind its door"
        if room(name) == "domain":
            assert library not in {"torch", "monai", "pytorch_lightning"}


def test_no_import_cycles() -> None:
    graph = {name: own_imports(name, deferred=True) for name in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("folder", PART_FOLDERS)
def test_parts_never_import_each_other(folder: str) -> None:
    from pipeline.config import parts

    names = [f"{folder}.{name}" for name, _ in parts(f"pipeline.{folder}")] if has_parts(folder) else []
    for name in MODULES:
        mine = next((part for part in names if name == part or name.startswith(f"{part}.")), None)
        for target in own_imports(name, deferred=True) if mine else ():
            other = next((part for part in names if target == part or target.startswith(f"{part}.")), None)
            assert other in (None, mine), f"part {mine} imports part {other}"


def has_parts(folder: str) -> bool:
    path = PACKAGE.joinpath(*folder.split("."))
    return any(entry.name != "__init__.py" and not entry.name.startswith("__") for entry in path.iterdir())


CALLERS = {"stages.demo", "stages.sweep", "stages.sweep_trials"}
"""Verbs that are made of other verbs: the demo walks through all, a trial of a sweep is a training."""


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "stages" and name not in CALLERS])
def test_stages_do_not_call_each_other(name: str) -> None:
    verbs = {f"stages.{path.stem}" for path in (PACKAGE / "stages").glob("*.py") if "\ndef run(" in path.read_text()}
    assert not own_imports(name, deferred=True) & (verbs - {name})


def test_names_tell_what_lives_there() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [name for name in MODULES if forbidden & set(name.split("."))]


def test_modules_stay_small() -> None:
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: size for name, size in sizes.items() if size > 400}


def loaded_by(statement: str) -> set[str]:
    """Top-level libraries that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(json.loads(out.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import pipeline",
        "import pipeline.cli",
        "from typer.testing import CliRunner\nfrom pipeline.cli import app\nCliRunner().invoke(app, ['--help'])",
    ],
)
def test_entry_points_load_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


@pytest.mark.parametrize("folder", PART_FOLDERS)
def test_configs_of_parts_import_no_torch(folder: str) -> None:
    if has_parts(folder):
        assert not loaded_by(f"from pipeline.config import parts\nparts('pipeline.{folder}')") & {"torch", "monai"}


def test_domain_imports_no_torch() -> None:
    names = [f"pipeline.{name}" for name in MODULES if room(name) == "domain"]
    assert "torch" not in loaded_by(f"import {', '.join(names)}")


@pytest.mark.parametrize("module", ["pipeline.stages.predict", "pipeline.stages.pyfunc"])
def test_inference_imports_no_lightning(module: str) -> None:
    assert "pytorch_lightning" not in loaded_by(f"import {module}")
