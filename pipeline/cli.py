"""The command ``resdx``: thin; each verb imports its stage when it runs, so that help answers at once."""

import importlib
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import __version__
from pipeline.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ResdxError, StoppedBySignal

if TYPE_CHECKING:
    from pipeline.config import Settings

log = logging.getLogger("resdx")

VERBS = {
    "demo": "demo",
    "ingest": "ingest",
    "convert": "convert",
    "import": "import_medmnist",
    "plan": "plan",
    "prepare": "prepare",
    "train": "train",
    "sweep": "sweep",
    "depth-study": "depth_study",
    "evaluate": "evaluate",
    "predict": "predict",
    "export": "export",
    "sync": "sync",
    "ui": "ui",
    "info": "info",
}
"""Verb to the module of its stage."""

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="resdx",
    help="From a folder of scans and a label file to a diagnostic model that reviewers trust.\n\n"
    "A first look:  resdx demo --out demo\n\n"
    "The way of an experiment:  ingest -> plan -> train -> evaluate -> predict",
    epilog="Exit status: 0 all good, 3 done but some inputs were rejected or scans and labels do not cover each other, "
    "1 failed, 2 usage, 130 interrupted, 143 stopped by SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
import_app = typer.Typer(help="Turn a public benchmark into a scan folder and a label file.", no_args_is_help=True)
app.add_typer(import_app, name="import")

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings by dotted key: a.b=c. `resdx config VERB` lists them all.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file with settings of this verb.")]
Modality = Annotated[str | None, typer.Option(help="Modality of NIfTI files and pictures: CT, MR, US, OP, ...")]
Scans = Annotated[Path, typer.Argument(help="Folder of scans, or a ZIP archive; nothing is ever written in it.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"resdx {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Set up what all verbs share."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    short: Annotated[bool, typer.Option("--short", help="Fewer patients and epochs: shows the way, not quality.")] = (
        False
    ),
    overrides: Overrides = None,
) -> None:
    """Make a synthetic hospital in DICOM, then ingest, train, evaluate and predict; a few minutes."""
    _run("demo", values={"out": out, "short": short}, overrides=overrides)


@app.command()
def ingest(
    scans: Scans,
    out: Annotated[Path, typer.Option(help="Manifest to write: NAME.csv; its companions stand beside it.")],
    labels: Annotated[Path | None, typer.Option(help="CSV, TSV or XLSX; without it an inventory is made.")] = None,
    extend: Annotated[Path | None, typer.Option(help="Older manifest whose patients keep their split.")] = None,
    deidentified_copy: Annotated[
        Path | None, typer.Option(help="Folder for a de-identified copy of the DICOM files of all cases.")
    ] = None,
    cross_check: Annotated[
        str | None, typer.Option(help="Read a sample of series again with `simpleitk`, and refuse what differs.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what each rule of select takes and drops; writes nothing.")
    ] = False,
    modality: Modality = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Find, read, check, label and split scans; writes the manifest and every reason for a refusal."""
    values: dict[str, object] = {
        "scans": scans,
        "out": out,
        "labels.file": labels,
        "extend": extend,
        "deidentified_copy.folder": deidentified_copy,
        "cross_check.reader": cross_check,
        "dry_run": dry_run or None,
        "modality": modality,
    }
    _run("ingest", config, values, overrides)


@app.command()
def convert(
    scans: Scans,
    out: Annotated[Path, typer.Argument(help="Folder for the NIfTI and JSON files.")],
    modality: Modality = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write every accepted series as NIfTI and JSON: what the pipeline sees."""
    _run("convert", config, {"scans": scans, "out": out, "modality": modality}, overrides)


@import_app.command()
def medmnist(
    file: Annotated[Path, typer.Argument(help="An .npz file of MedMNIST.")],
    out: Annotated[Path, typer.Argument(help="Folder for scans/ and labels.csv.")],
    overrides: Overrides = None,
) -> None:
    """Turn a MedMNIST file into a scan folder and labels with its official split."""
    _run("import", values={"file": file, "out": out}, overrides=overrides)


@app.command()
def plan(
    manifest: Annotated[Path, typer.Argument(help="Manifest: the NAME.csv of `resdx ingest`.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Measure the training split, decide how scans are prepared, and say why."""
    _run("plan", config, {"manifest": manifest}, overrides)


@app.command()
def prepare(
    manifest: Annotated[Path, typer.Argument(help="Manifest: the NAME.csv of `resdx ingest`.")],
    plan: Annotated[Path, typer.Option(help="plan.json of `resdx plan`.")],
    cache: Annotated[Path, typer.Option(help="Folder of the cache.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Prepare every case ahead of training."""
    _run("prepare", config, {"manifest": manifest, "plan": plan, "cache": cache}, overrides)


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(
            help="YAML file of yours ({} alone takes everything from the plan), or the name of a shipped recipe of a "
            "public benchmark: adrenal3d, breast2d, ..."
        ),
    ],
    overrides: Overrides = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest: the NAME.csv of `resdx ingest`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same one again goes on with the run.")] = None,
) -> None:
    """Train a residual network and leave a calibrated, tracked model package."""
    overrides = list(overrides or [])
    if "=" in config:
        overrides.insert(0, config)
        config = ""
    _run("train", config or None, {"manifest": manifest, "out": out}, overrides)


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one: breast2d.")],
    overrides: Overrides = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest: the NAME.csv of `resdx ingest`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the search; the same one again goes on.")] = None,
) -> None:
    """Search the best settings of a training on validation; several processes may share one search."""
    overrides = list(overrides or [])
    if "=" in config:
        overrides.insert(0, config)
        config = ""
    _run("sweep", config or None, {"manifest": manifest, "out": out}, overrides)


@app.command("depth-study")
def depth_study(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.")],
    overrides: Overrides = None,
    manifest: Annotated[Path | None, typer.Option(help="Manifest: the NAME.csv of `resdx ingest`.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; the same one again goes on.")] = None,
) -> None:
    """Train residual and plain networks of several depths alike, and say which depth is enough."""
    overrides = list(overrides or [])
    if "=" in config:
        overrides.insert(0, config)
        config = ""
    _run("depth-study", config or None, {"manifest": manifest, "out": out}, overrides)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Package or run folder, runs:/... or models:/name@alias.")],
    manifest: Annotated[Path, typer.Option(help="Manifest; another one than in training is an external set.")],
    out: Annotated[Path, typer.Option(help="Folder for the report and its plots.")],
    split: Annotated[str | None, typer.Option(help="train, validation, test (default) or all.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Score a model, every number with its interval."""
    _run("evaluate", config, {"model": model, "manifest": manifest, "out": out, "split": split}, overrides)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Package or run folder, runs:/... or models:/name@alias.")],
    scans: Scans,
    out: Annotated[Path, typer.Option(help="Folder for the predictions; the same one again goes on.")],
    modality: Modality = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow the folder until SIGTERM: what arrives is predicted when it is quiet."),
    ] = False,
    executor: Annotated[
        str | None, typer.Option(help="local (default), or ray: on this machine or a cluster (ray.address=).")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run a model over a folder of scans, losing nothing."""
    values: dict[str, object] = {
        "model": model,
        "scans": scans,
        "out": out,
        "modality": modality,
        "watch.enabled": watch or None,
        "executor": executor,
    }
    _run("predict", config, values, overrides)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Package or run folder, runs:/... or models:/name@alias.")],
    manifest: Annotated[Path, typer.Option(help="Manifest of the training; its validation split is run.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: beside the package.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="openvino or onnx; may be given twice. Default: both.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write a model for other runtimes, and measure how each agrees with PyTorch."""
    _run("export", config, {"model": model, "manifest": manifest, "out": out, "to": to}, overrides)


@app.command()
def ui(
    store: Annotated[str, typer.Argument(help="Folder with mlflow.db, or a database URI.")] = ".",
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow on the store of your runs."""
    _run("ui", values={"store": store, "port": port})


@app.command()
def sync(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    uri: Annotated[str | None, typer.Option(help="Tracking URI; default: the run's own.")] = None,
) -> None:
    """Replay a run's journal to MLflow, after the server was away."""
    _run("sync", values={"run": run, "uri": uri})


@app.command("config")
def show_config(
    verb: Annotated[str, typer.Argument(help=f"One of: {', '.join(VERBS)}.")],
    schema: Annotated[bool, typer.Option("--schema", help="Print JSON Schema for editors.")] = False,
) -> None:
    """Print every setting of a verb with its default and meaning."""

    def work() -> int:
        from pipeline.config import explain
        from pipeline.config import schema as json_schema

        settings = _settings(verb)
        typer.echo(json_schema(settings) if schema else explain(settings))
        return EXIT_OK

    _guard(work)


@app.command()
def info(
    code: Annotated[str, typer.Argument(help="A code of a rejections table, e.g. GAP.")] = "",
) -> None:
    """Say what this machine can do, or what a code means and what to do about it."""
    _run("info", values={"code": code})


def main() -> None:
    """Entry point of the console script."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder may have a name that is no UTF-8
    app()


def _run(
    verb: str,
    config: str | Path | None = None,
    values: dict[str, object] | None = None,
    overrides: list[str] | None = None,
) -> None:
    """Load the stage, build its settings, run it, print its closing lines and exit with its status."""

    def work() -> int:
        from pipeline.shipped import find_config

        path = find_config(verb, str(config)) if config else None
        given = {key: _plain(value) for key, value in (values or {}).items() if value is not None}
        stage = _stage(verb)
        outcome = stage.run(stage.Config.load(path, overrides or [], given))
        for line in outcome.lines:
            typer.echo(line)
        return int(outcome.exit_code)

    _guard(work)


def _guard(work: Callable[[], int]) -> None:
    """Turn what goes wrong into one clear message and an exit status."""
    debug = log.isEnabledFor(logging.DEBUG)
    try:
        status = work()
    except (ResdxError, StoppedBySignal) as error:
        if debug:
            raise
        typer.echo(f"resdx: {error}", err=True)
        status = error.exit_code
    except typer.Exit as stop:
        status = stop.exit_code
    except BrokenPipeError:  # the reader of our lines has gone, as `head` does
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it lives as long as the process
        status = EXIT_FAILED
    except KeyboardInterrupt:
        typer.echo("resdx: interrupted; what is saved is whole, and the same command may be given again.", err=True)
        status = EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence; --debug shows it whole
        if debug:
            raise
        typer.echo(f"resdx: unexpected {type(error).__name__}: {error}\nRun again with `resdx --debug`.", err=True)
        status = EXIT_FAILED
    raise typer.Exit(status)


def _stage(verb: str) -> Any:
    if verb not in VERBS:
        typer.echo(f"resdx: there is no verb {verb!r}; choose from {', '.join(VERBS)}.", err=True)
        raise typer.Exit(EXIT_USAGE)
    return importlib.import_module(f"pipeline.stages.{VERBS[verb]}")


def _settings(verb: str) -> "type[Settings]":
    config: type[Settings] = _stage(verb).Config
    return config


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":  # torchrun and Lightning start modules
    main()
