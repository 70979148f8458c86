"""Prediction over a folder: every case once, whatever happens; every file accounted for; nobody's name in the open."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from phantoms.answers import answer_of
from phantoms.dicom_series import make_voxels, write_series
from phantoms.packages import FINDINGS, make_package
from phantoms.predict_kills import begun, commits, committed, killed_at, predict_command, predicted_by
from phantoms.predicting import TABLES, codes, config, conserved, rows, summary, tables, timeless, write_scan

from pipeline import progress
from pipeline.domain.prediction import Prediction
from pipeline.domain.series import Series
from pipeline.engines.torch import Config as TorchConfig
from pipeline.engines.torch.eager import TorchEngine
from pipeline.errors import EXIT_OK, EXIT_SIGTERM, EXIT_SOME_REJECTED, PackageError, RejectedInput, StoppedBySignal
from pipeline.ledger import Ledger
from pipeline.package.package import load_package
from pipeline.preprocessing import scans as preparing
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.stages import predict_local, predict_writing
from pipeline.stages.outcome import Outcome
from pipeline.stages.predict import LEDGER, run
from pipeline.stages.predict_requests import Request

CANARY = "DOE^JANE-4711"
CASES = 48


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Other processes are compared with this one bit for bit."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good scans only, in folders of uneven depth."""
    folder = tmp_path_factory.mktemp("clean") / "scans"
    for number in range(6):
        write_scan(folder / ("deep/er" if number % 2 else "") / f"scan {number}.nii.gz", number)
    return folder


@pytest.fixture(scope="module")
def predicted(model: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Path]:
    """An uninterrupted run, with the key of its pseudonyms."""
    folder = tmp_path_factory.mktemp("predicted")
    out, key = folder / "out", folder / "key"
    return out, run(config(model, scans, out, key_file=str(key))), key


def test_each_case_gets_what_the_network_says_of_its_scan_alone(
    model: Path, scans: Path, predicted: tuple[Path, Outcome, Path]
) -> None:
    out, outcome, _ = predicted
    package = load_package(model)
    engine = TorchConfig(threads=1).build(package)
    options = ReadOptions(modality="CT")
    expected = {
        series.files[0].sha256: answer_of(read(series, options), package, engine)
        for series in discover(scans, options).series
    }
    said = [Prediction.model_validate_json(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(said) == len(expected) == 6
    assert sorted(str(one.findings) for one in said) == sorted(map(str, expected.values()))
    assert len({str(one.findings) for one in said}) == 6, "all scans give the same answer: this test sees nothing"
    assert {one.model for one in said} == {package.digest}
    assert outcome.exit_code == EXIT_OK


def test_it_leaves_the_tables_in_the_order_of_the_cases(predicted: tuple[Path, Outcome, Path]) -> None:
    out, outcome, _ = predicted
    assert {path.name for path in out.iterdir()} == TABLES | {LEDGER, "predictions.html", "pictures"}
    names = [row["case"] for row in rows(out / "predictions.csv")]
    assert names == sorted(set(names))
    frame = pq.read_table(out / "predictions.parquet")
    assert frame.column("case").to_pylist() == names
    assert conserved(out) == (6, 6, 0, 0, 6)
    assert rows(out / "rejections.csv") == rows(out / "retry.csv") == []
    found = summary(out)
    assert found["model"] == rows(out / "predictions.csv")[0]["model"]
    assert set(found["decisions"]) == {finding.name for finding in FINDINGS}
    assert all(sum(said.values()) == 6 for said in found["decisions"].values())
    text = "\n".join(outcome.lines)
    assert "6 files: 6 used, 0 skipped, 0 rejected" in text
    assert "predictions.csv" in text


def test_a_repeated_run_runs_no_network_and_changes_no_byte(
    model: Path, scans: Path, predicted: tuple[Path, Outcome, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _, key = predicted
    before, counted = tables(out), timeless(out)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a network was built, or a scan read, on a run that has nothing to do")

    monkeypatch.setattr(TorchEngine, "__init__", never)
    monkeypatch.setattr(predict_local, "prepare_series", never)
    outcome = run(config(model, scans, out, key_file=str(key)))
    assert outcome.exit_code == EXIT_OK
    assert any("no network ran" in line for line in outcome.lines)
    assert (tables(out), timeless(out)) == (before, counted)


def test_workers_neighbours_and_the_order_of_files_change_no_bit(
    model: Path, scans: Path, predicted: tuple[Path, Outcome, Path], tmp_path: Path
) -> None:
    out, _, key = predicted
    run(config(model, scans, tmp_path / "workers", key_file=str(key), processes=2))
    assert tables(tmp_path / "workers") == tables(out)
    fewer = tmp_path / "fewer"
    for path in sorted(scans.rglob("*.nii.gz"))[::2]:
        (fewer / path.relative_to(scans)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, fewer / path.relative_to(scans))
    run(config(model, fewer, tmp_path / "out", key_file=str(key)))
    whole = (out / "predictions.csv").read_text().splitlines()
    part = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(part) == 4
    assert set(part) < set(whole)


def test_what_arrives_later_is_added_and_only_it_is_read(model: Path, tmp_path: Path, calls: list[str]) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    write_scan(folder / "a.nii", 0)
    run(config(model, folder, out))
    first = rows(out / "predictions.csv")
    write_scan(folder / "b.nii", 1)
    calls.clear()
    run(config(model, folder, out))
    assert calls == ["b.nii"]
    assert len(rows(out / "predictions.csv")) == 2
    assert first[0] in rows(out / "predictions.csv")


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": {"kind": "torch", "threads": 1, "precision": "bf16"}},
        {"modality": "MR", "out_of": "DOES_NOT_FIT"},
        {"model": "another"},
    ],
    ids=["engine", "modality", "model"],
)
def test_another_engine_modality_or_model_is_another_question(
    model: Path, tmp_path: Path, calls: list[str], changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    write_scan(folder / "a.nii", 0)
    run(config(model, folder, out))
    before = tables(out)
    changes = dict(changes)
    refused = changes.pop("out_of", "")
    if "model" in changes:
        changes["model"] = str(make_package(tmp_path / "another", tta_flips=(0,)).folder)
    calls.clear()
    run(config(**{"model": model, "scans": folder, "out": out} | changes))
    assert list(codes(out).values()) == ([refused] if refused else [])
    assert calls == ([] if refused else ["a.nii"])
    assert tables(out) != before
    assert ("were made with another model" in caplog.text) == ("model" in changes)
    run(config(model, folder, out))
    assert tables(out) == before


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, in order."""
    seen: list[str] = []
    real = preparing.prepare_series

    def noting(slots: tuple[Series, ...], **rest: Any) -> preparing.PreparedScan:
        seen.append(slots[0].files[0].path.name)
        return real(slots, **rest)

    monkeypatch.setattr(predict_local, "prepare_series", noting)
    return seen


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """What a share really holds, under the name of a patient."""
    folder = tmp_path / "share" / CANARY
    for number in range(3):
        write_scan(folder / f"{CANARY} {number}.nii.gz", number)
    whole = write_scan(folder / "cut.nii.gz", 7).read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[:-40])
    write_scan(folder / "flat.nii", 8, (14, 12, 2))
    (folder / "empty.nii").write_bytes(b"")
    (folder / "text.nii").write_text(f"{CANARY}: not an image")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(64))
    return folder.parent


def test_a_mixed_folder_loses_nothing_and_exits_with_3(model: Path, messy: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in messy.rglob("*") if path.is_file()}
    outcome = run(config(model, messy, tmp_path / "out"))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert conserved(tmp_path / "out") == (8, 3, 1, 4, 3)
    assert codes(tmp_path / "out") == {
        "cut.nii.gz": "TRUNCATED",
        "empty.nii": "TRUNCATED",
        "flat.nii": "TOO_FEW_SLICES",
        "text.nii": "BAD_HEADER",
    }
    assert codes(tmp_path / "out", "retry.csv") == {}
    ended = {Path(row["path"]).name: row for row in rows(tmp_path / "out" / "files.csv")}
    assert sorted(ended) == sorted(path.name for path in messy.rglob("*") if path.is_file())
    assert (ended["Thumbs.db"]["disposition"], ended["Thumbs.db"]["code"]) == ("skipped", "NOT_AN_IMAGE")
    predicted = {row["case"] for row in rows(tmp_path / "out" / "predictions.csv")}
    assert {row["case"] for row in ended.values() if row["disposition"] == "used"} == predicted
    for row in rows(tmp_path / "out" / "rejections.csv"):
        assert row["message"]
        assert row["remedy"]
        assert Path(row["path"]).is_file()
    text = "\n".join(outcome.lines)
    assert "8 files: 3 used, 1 skipped, 4 rejected" in text
    assert f"each file stands in {tmp_path / 'out' / 'files.csv'}" in text
    assert "2 x TRUNCATED" in text
    assert {path: path.read_bytes() for path in messy.rglob("*") if path.is_file()} == before


def test_no_name_of_a_patient_leaves_but_in_the_rejections(
    model: Path, messy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcome = run(config(model, messy, tmp_path / "out"))
    carriers = {"files.csv", "rejections.csv", "retry.csv"}
    for path in (tmp_path / "out").rglob("*"):
        assert CANARY not in path.name
        assert path.is_dir() or path.name in carriers or CANARY.encode() not in path.read_bytes(), path.name
    assert CANARY in (tmp_path / "out" / "rejections.csv").read_text()
    assert CANARY not in caplog.text + "\n".join(outcome.lines)


def test_a_passing_refusal_is_tried_again_and_a_lasting_one_is_not(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    trouble = {"a.nii": "TIMEOUT", "b.nii": "GAP", "c.nii": ""}
    seen: list[str] = []
    for number, name in enumerate(trouble):
        write_scan(folder / name, number)
    real = preparing.prepare_series

    def troubled(slots: tuple[Series, ...], **rest: Any) -> preparing.PreparedScan:
        path = slots[0].files[0].path
        seen.append(path.name)
        if trouble[path.name]:
            raise RejectedInput(trouble[path.name], "said so", path=str(path))
        return real(slots, **rest)

    def again(**changes: object) -> tuple[int, list[str], dict[str, str], dict[str, str]]:
        seen.clear()
        status = run(config(model, folder, out, **changes)).exit_code
        conserved(out)
        return status, sorted(seen), codes(out), codes(out, "retry.csv")

    monkeypatch.setattr(predict_local, "prepare_series", troubled)
    both = {"a.nii": "TIMEOUT", "b.nii": "GAP"}
    assert again() == (EXIT_SOME_REJECTED, ["a.nii", "b.nii", "c.nii"], both, {"a.nii": "TIMEOUT"})
    assert again() == (EXIT_SOME_REJECTED, ["a.nii"], both, {"a.nii": "TIMEOUT"})
    trouble.update({"a.nii": "", "b.nii": ""})
    assert again() == (EXIT_SOME_REJECTED, ["a.nii"], {"b.nii": "GAP"}, {})
    assert again(retry=True) == (EXIT_OK, ["b.nii"], {}, {})
    assert again(retry=True) == (EXIT_OK, [], {}, {})


def test_a_guilty_file_is_named_again_from_the_ledger(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    files = write_series(folder, make_voxels((14, 12, 9), high=200), spacing=(2.0, 2.0, 2.0))

    def refuse(slots: tuple[Series, ...], **_: Any) -> None:
        raise RejectedInput("CORRUPT", "the decoder refuses it", path=str(files[4]))

    monkeypatch.setattr(predict_local, "prepare_series", refuse)
    for _ in range(2):  # from the run, then from the ledger
        run(config(model, folder, out))
        found = codes(out)
        assert found.pop(files[4].name) == "CORRUPT"
        assert found == {path.name: "INCOMPLETE" for path in files if path != files[4]}
        assert conserved(out) == (9, 0, 0, 9, 0)
    assert str(files[4]).encode() not in (out / LEDGER).read_bytes()


def test_file_names_of_any_bytes_and_scripts_are_taken(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    for number, name in enumerate((b"\xff\xfe.nii", "größe.nii".encode(), "סריקה.nii".encode(), b"=cmd.nii")):
        write_scan(folder / "plain.nii", number)
        os.rename(os.fsencode(folder / "plain.nii"), os.fsencode(folder) + b"/" + name)  # noqa: PTH104 - bytes
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.nii")).write_bytes(b"")
    run(config(model, folder, tmp_path / "out"))
    assert conserved(tmp_path / "out") == (5, 4, 0, 1, 4)
    content = (tmp_path / "out" / "rejections.csv").read_bytes()
    assert rb"/\xE9.nii," in content and len(content.splitlines()) == 2


def test_an_edited_package_is_refused_before_anything_is_written(model: Path, scans: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(model, edited)
    text = (edited / "package.json").read_text()
    (edited / "package.json").write_text(text.replace('"threshold": 0.4', '"threshold": 0.1'))
    with pytest.raises(PackageError, match="digest"):
        run(config(edited, scans, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_sigterm_keeps_what_is_done(
    model: Path, scans: Path, predicted: tuple[Path, Outcome, Path], tmp_path: Path, stop_at: int
) -> None:
    whole, _, key = predicted
    out = tmp_path / "out"
    left = [stop_at]
    real = Ledger.commit

    def stopping(self: Ledger, *arguments: Any, **rest: Any) -> None:
        real(self, *arguments, **rest)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "commit", stopping)
        with pytest.raises(StoppedBySignal) as stopped:
            run(config(model, scans, out, key_file=str(key)))
    assert stopped.value.exit_code == EXIT_SIGTERM
    assert committed(out) == stop_at
    run(config(model, scans, out, key_file=str(key)))
    assert (tables(out), timeless(out)) == (tables(whole), timeless(whole))


def test_rounds_of_one_pass_show_one_progress(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others may hold cases for minutes, and it is looked for them many times a second."""
    caplog.set_level(logging.INFO)
    for number in range(3):
        write_scan(tmp_path / "scans" / f"{number}.nii", number)
    real = predict_writing.rounds

    def by_one(requests: Sequence[Request], ledger: Ledger, after: int) -> Iterator[Iterator[Request]]:
        for request in requests:
            yield from real([request], ledger, after)

    monkeypatch.setattr(predict_writing, "rounds", by_one)
    monkeypatch.setattr(progress, "WORTH_A_LINE_SECONDS", 0.0)
    run(config(model, tmp_path / "scans", tmp_path / "out"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" in ")[0] for line in said if line.startswith("predict cases")] == ["predict cases: 3 done"]


def test_killed_and_started_twice_at_once_it_predicts_each_case_once(model: Path, tmp_path: Path) -> None:
    folder, out, key = tmp_path / "scans", tmp_path / "out", tmp_path / "key"
    for number in range(CASES):
        write_scan(folder / f"{number}.nii", number)
    command = predict_command(model, folder, out, key, processes=1)
    killed, done = killed_at(command, out, cases=1)
    assert killed == -signal.SIGKILL
    assert 0 < done < CASES
    assert not (out / "predictions.csv").exists()
    (out / ".tmp-0123456789abcdef.csv").write_text("half of a table")
    (out / "pictures" / ".tmp-0123456789abcdef.png").write_text("half of a picture")

    with begun(command) as one, begun(command) as other:
        said = [process.communicate() for process in (one, other)]
    assert (one.returncode, other.returncode) == (EXIT_OK, EXIT_OK), said
    shares = [predicted_by(err) for _, err in said]
    assert sum(shares) == CASES - done
    assert committed(out) == commits(out) == CASES, "a case was predicted twice"
    assert not list(out.rglob(".tmp-*"))
    assert not list(out.glob("*.lock"))

    whole = tmp_path / "whole"
    run(config(model, folder, whole, key_file=str(key)))
    assert (tables(out), timeless(out)) == (tables(whole), timeless(whole))
    assert conserved(out) == (CASES, CASES, 0, 0, CASES)
