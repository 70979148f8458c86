"""Sending to a PACS beside predicting: to a real Orthanc that comes and goes, and to peers that refuse or complain."""

import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from phantoms.dicom_peer import peer
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.orthanc import free_port
from phantoms.orthanc import running as running_orthanc
from phantoms.predicting import config

from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ConfigError, UsageError
from pipeline.stages import predict, predict_watch
from pipeline.stages.outcome import Outcome
from pipeline.stages.predict import run
from pipeline.stages.predict_sending import send_objects
from pipeline.stages.predict_watch import Quiet
from pipeline.writers.dicom_objects import report_path
from pipeline.writers.dicom_sending import Destination

REFUSED, COERCED = 0xA700, 0xB000
EVERY, RETRY = 10, 35


def scan(scans: Path, number: int) -> None:
    """One patient's CT series."""
    write_series(
        scans / str(number),
        make_voxels((14, 12, 9), high=200 + number),
        spacing=(2.0, 2.0, 2.0),
        identity=Identity.numbered(number),
    )


@pytest.fixture
def series(tmp_path: Path) -> Path:
    for number in (1, 2):
        scan(tmp_path / "scans", number)
    return tmp_path / "scans"


def settings(destination: Destination, **more: object) -> dict[str, object]:
    return {"modality": "", "dicom": {"report": True, "send": destination.model_dump()}} | more


def follow(
    model: Path,
    scans: Path,
    out: Path,
    destination: Destination,
    happenings: list[Callable[[], Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Outcome:
    """Follow a folder; before each further look something happens and ten seconds pass; long after, it ends."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds
        if happenings:
            happenings.pop(0)()

    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(predict_watch, "Quiet", partial(Quiet, clock=clock.monotonic))
    monkeypatch.setattr(predict_watch, "time", clock)
    monkeypatch.setattr(predict, "watch", partial(predict_watch.watch, wait=wait))
    idle = EVERY * (len(happenings) + 2)
    watch = {"enabled": True, "quiet_seconds": 0, "every_seconds": EVERY, "retry_seconds": RETRY, "idle_seconds": idle}
    return run(config(model, scans, out, **settings(destination), watch=watch))


def nothing() -> None:
    pass


def test_a_pacs_that_refuses_is_asked_again_after_a_while_and_not_at_every_look(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    looks: list[int] = []

    def refuse(event: Any) -> int:
        asked.append(str(event.request.AffectedSOPInstanceUID))
        return REFUSED

    def look() -> None:
        looks.append(len(asked))

    def bring() -> None:
        look()
        scan(series, 3)

    with peer(refuse) as destination:
        outcome = follow(model, series, tmp_path / "out", destination, [look, bring, look, look, look], monkeypatch)
    assert looks == [2, 2, 3, 3, 6], "what is new goes out at once, what failed waits"
    assert len(set(asked)) == 3
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert any("3 objects could not be sent" in line for line in outcome.lines)


def test_what_orthanc_takes_later_corrects_the_outcome(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "orthanc").mkdir()
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.kill()
        happenings = [orthanc.start, nothing, nothing, nothing, nothing]
        outcome = follow(model, series, tmp_path / "out", orthanc.destination, happenings, monkeypatch)
        assert len(orthanc.get("/instances")) == 2
    assert "2 objects could not be sent" in caplog.text
    assert outcome.exit_code == EXIT_OK
    assert any("2 objects were sent" in line for line in outcome.lines)
    assert not any("could not be sent" in line for line in outcome.lines)


def test_an_object_that_the_pacs_stored_and_complained_of_is_sent_once(
    model: Path, series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []
    with peer(lambda event: asked.append(event) or COERCED) as destination:
        for stored in (2, 0):
            outcome = run(config(model, series, tmp_path / "out", **settings(destination)))
            assert outcome.exit_code == EXIT_OK
            assert any(f"{stored} objects were sent" in line for line in outcome.lines)
    assert len(asked) == 2
    assert caplog.text.count("it changed elements (coercion)") == 2
    record = (tmp_path / "out" / "sent.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["status"] for line in record] == [COERCED] * 2


def test_objects_that_all_fail_for_one_reason_are_not_all_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = Destination(host="127.0.0.1", port=free_port(), called_ae="X")
    cases = [f"C{number}_{number}" for number in range(20)]
    scan(tmp_path / "scans", 1)
    content = next((tmp_path / "scans" / "1").iterdir()).read_bytes()
    (tmp_path / "dicom").mkdir()
    for case in [*cases, "C99"]:
        report_path(tmp_path / "dicom", case).write_bytes(content)
    sent = send_objects(tmp_path, nobody, cases, ["lesion"])
    assert (sent.stored, sent.failed) == (0, 20)
    assert {one.name for one in sent.failures} == {f"{case}_sr.dcm" for case in cases}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 4
    assert said[-1].startswith("17 more objects: not_sent")


def test_a_pacs_that_is_silent_is_told_before_anything_is_predicted(
    model: Path, series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nobody = Destination(host="127.0.0.1", port=free_port(), called_ae="X")
    run(config(model, series, tmp_path / "out", **settings(nobody)))
    said = [record.getMessage() for record in caplog.records]
    (echo,) = [at for at, line in enumerate(said) if line.startswith("C-ECHO: X@127.0.0.1")]
    (work,) = [at for at, line in enumerate(said) if line.startswith("2 cases, 2 of them to predict")]
    assert echo < work


def test_sending_without_pynetdicom_is_refused_before_anything_is_predicted(
    model: Path, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    nobody = Destination(host="127.0.0.1", port=1, called_ae="X")
    with pytest.raises(UsageError, match=r"resdx\[send\]"):
        run(config(model, series, tmp_path / "out", **settings(nobody)))
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_sending_where_no_object_is_made_is_refused(model: Path, tmp_path: Path) -> None:
    nobody = Destination(host="127.0.0.1", port=1, called_ae="X")
    with pytest.raises(ConfigError, match=r"dicom: .*dicom\.report=true"):
        config(model, tmp_path, tmp_path / "out", dicom={"send": nobody.model_dump()})


def test_a_pacs_whose_name_has_no_address_costs_no_prediction(model: Path, series: Path, tmp_path: Path) -> None:
    nowhere = Destination(host="no.such.host.invalid", port=104, called_ae="X", timeout_seconds=1)
    outcome = run(config(model, series, tmp_path / "out", **settings(nowhere)))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert any("2 objects could not be sent" in line for line in outcome.lines)
    assert any("2 cases have a prediction" in line for line in outcome.lines)
