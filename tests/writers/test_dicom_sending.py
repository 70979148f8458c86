"""C-STORE to a real Orthanc, which is also stopped halfway, and to peers of pynetdicom that answer as told."""

import json
import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from phantoms.dicom_peer import peer
from phantoms.dicom_reports import FINDINGS, PROBABILITIES, SOURCES, make_report, write
from phantoms.orthanc import Orthanc, free_port, running
from pydantic import ValidationError
from pydicom import dcmread
from pynetdicom.sop_class import SecondaryCaptureImageStorage  # type: ignore[attr-defined]

from pipeline.errors import LedgerError, StoppedBySignal, UsageError
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.writers import dicom_sent
from pipeline.writers.dicom_sc import Config as CaptureConfig
from pipeline.writers.dicom_sending import Destination, State, echo, send, uid_of
from pipeline.writers.dicom_sent import SentRecord, send_new
from pipeline.writers.dicom_sr import Config as ReportConfig


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def objects(folder: Path, source: str, case: str) -> list[Path]:
    """The report and the four heatmaps of a case."""
    report = make_report(SOURCES[source](folder / f"scans {case}"), case)
    written = [write(config.build(), folder / "out", report) for config in (ReportConfig(), CaptureConfig())]
    return [path for one in written for path in one.paths]


def test_orthanc_holds_what_was_sent_and_gives_back_the_same(orthanc: Orthanc, tmp_path: Path) -> None:
    assert echo(orthanc.destination) == ""
    files = objects(tmp_path, "MR series in Japanese", "C1")

    outcomes = list(send(files, orthanc.destination))

    assert [(one.path, one.state, one.status, one.reason) for one in outcomes] == [
        (path, State.STORED, 0, "") for path in files
    ]
    held = orthanc.instances()
    for path in files:
        sent = dcmread(path)
        assert outcomes[files.index(path)].uid == sent.SOPInstanceUID
        name = held[sent.SOPInstanceUID]
        tags = orthanc.get(f"/instances/{name}/simplified-tags")
        assert (tags["PatientID"], tags["StudyInstanceUID"]) == (sent.PatientID, sent.StudyInstanceUID)
        assert tags["PatientName"] == "Yamada^Tarou=山田^太郎"
        back = dcmread(BytesIO(orthanc.content(f"/instances/{name}/file")))
        assert back == sent
    report = hd.sr.srread(BytesIO(orthanc.content(f"/instances/{held[uid_of(files[0])]}/file")))
    groups = report.content.get_image_measurement_groups()
    for finding, chances, group in zip(FINDINGS, PROBABILITIES, groups, strict=True):
        found = [one.value for one in group.get_measurements() if one.name.meaning == "Probability"]
        assert found == [chances[label] for label in finding.classes]


def test_orthanc_dies_halfway_and_a_second_call_sends_the_rest_alone(orthanc: Orthanc, tmp_path: Path) -> None:
    files = objects(tmp_path, "CT series", "C2")
    record = tmp_path / "sent.jsonl"
    outcomes = []
    for outcome in send_new(files, orthanc.destination, SentRecord(record)):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            orthanc.kill()

    assert [one.state for one in outcomes] == [State.STORED] * 2 + [State.NOT_SENT] * 3
    assert [one.path for one in outcomes] == files
    assert all(one.reason and one.status is None for one in outcomes[2:])

    refused = list(send_new(files, orthanc.destination, SentRecord(record)))
    assert [(one.path, one.state) for one in refused] == [(path, State.NOT_SENT) for path in files[2:]]
    assert echo(orthanc.destination) != ""

    orthanc.start()
    rest = list(send_new(files, orthanc.destination, SentRecord(record)))
    assert [(one.path, one.state) for one in rest] == [(path, State.STORED) for path in files[2:]]
    assert {uid_of(path) for path in files} <= set(orthanc.instances())
    assert list(send_new(files, orthanc.destination, SentRecord(record))) == []
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["uid"] for line in lines] == [uid_of(path) for path in files]


def test_orthanc_rejects_a_wrong_title_and_the_reason_says_so(orthanc: Orthanc, tmp_path: Path) -> None:
    files = objects(tmp_path, "ultrasound", "C3")
    wrong = orthanc.destination.model_copy(update={"called_ae": "OTHER"})
    outcomes = list(send(files, wrong))
    assert {one.state for one in outcomes} == {State.NOT_SENT}
    assert len(outcomes) == len(files)
    assert "OTHER@127.0.0.1" in outcomes[0].reason
    assert "rejects RESDX" in outcomes[0].reason
    assert "rejects" in echo(wrong)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (0x0000, State.STORED),
        (0xB000, State.WARNING),
        (0xB123, State.WARNING),
        (0xA700, State.REFUSED),
        (0xC001, State.REFUSED),
    ],
)
def test_what_the_peer_stored_is_remembered_with_its_status_and_nothing_else(
    status: int, state: State, tmp_path: Path
) -> None:
    files = objects(tmp_path, "CT series", "C4")[:2]
    path = tmp_path / "sent.jsonl"
    with peer(lambda _: status) as destination:
        outcomes = list(send_new(files, destination, SentRecord(path)))
        again = list(send_new(files, destination, SentRecord(path)))
    assert [(one.state, one.status) for one in outcomes] == [(state, status)] * 2
    assert bool(outcomes[0].reason) == (state is not State.STORED)
    assert len(again) == (2 if state is State.REFUSED else 0)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    assert [json.loads(line)["status"] for line in lines] == [status] * (2 - len(again))


def test_an_object_that_was_sent_is_not_opened_again_and_one_that_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = objects(tmp_path, "CT series", "C8")[:2]
    record, opened = tmp_path / "sent.jsonl", []
    with peer(lambda _: 0) as destination:
        assert len(list(send_new(files, destination, SentRecord(record)))) == 2
        monkeypatch.setattr(dicom_sent, "uid_of", lambda path: opened.append(path) or uid_of(path))
        assert list(send_new(files, destination, SentRecord(record))) == []
        assert opened == []
        elsewhere = destination.model_copy(update={"host": "localhost"})
        assert len(list(send_new(files[1:], elsewhere, SentRecord(record)))) == 1
        files[0].write_bytes(files[0].read_bytes())
        assert list(send_new(files, destination, SentRecord(record))) == []
        changed = dcmread(files[0])
        changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        changed.save_as(files[0])
        (sent,) = send_new(files, destination, SentRecord(record))
    assert opened == [files[1], files[0], files[0]]
    assert (sent.path, sent.uid, sent.state) == (files[0], "1.2.3", State.STORED)


def test_a_record_without_status_and_file_still_counts(tmp_path: Path) -> None:
    line = '{"uid":"1.2.3","destination":"PACS@a:104","moment":"2026-01-02T03:04:05Z"}\n'
    (tmp_path / "sent.jsonl").write_text(line, encoding="utf-8")
    assert SentRecord(tmp_path / "sent.jsonl").holds("1.2.3", Destination(host="a", called_ae="PACS"))


def test_all_files_go_over_one_association_each_in_its_own_transfer_syntax(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def answer(event: Any) -> int:
        seen.append((id(event.assoc), str(event.context.transfer_syntax)))
        return 0

    files = objects(tmp_path, "CT series", "C5")
    with peer(answer) as destination:
        assert {one.state for one in send(files, destination)} == {State.STORED}
    assert len(seen) == len(files)
    assert len(set(seen)) == 1
    assert seen[0][1] == "1.2.840.10008.1.2.1"


def test_a_kind_that_the_peer_does_not_take_costs_only_that_kind(tmp_path: Path) -> None:
    files = objects(tmp_path, "CT series", "C6")
    with peer(lambda _: 0, SecondaryCaptureImageStorage) as destination:
        states = [one.state for one in send(files, destination)]
        (alone,) = send(files[:1], destination)
    assert states == [State.REFUSED] + [State.STORED] * 4
    assert (alone.state, alone.uid, alone.path) == (State.REFUSED, uid_of(files[0]), files[0])
    assert "takes none" in alone.reason


def test_sigterm_while_an_object_is_stored_is_no_answer_of_the_peer(tmp_path: Path) -> None:
    files = objects(tmp_path, "CT series", "C5")

    asked = []

    def stopping(event: Any) -> int:
        asked.append(event)
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    with peer(stopping) as destination, pytest.raises(StoppedBySignal), stopping_on_sigterm():
        list(send(files, destination))
    assert len(asked) == 1


def test_files_that_are_none_do_not_stop_the_others(tmp_path: Path) -> None:
    files = objects(tmp_path, "CT series", "C7")[:1]
    (tmp_path / "no.dcm").write_bytes(b"not DICOM")
    with peer(lambda _: 0) as destination:
        outcomes = list(send([tmp_path / "no.dcm", *files, tmp_path / "absent.dcm"], destination))
    assert [one.state for one in outcomes] == [State.REFUSED, State.STORED, State.REFUSED]
    assert (outcomes[0].uid, outcomes[1].uid) == ("", uid_of(files[0]))


def test_no_file_is_no_connection() -> None:
    nobody = Destination(host="127.0.0.1", port=free_port(), called_ae="X", timeout_seconds=5)
    assert list(send([], nobody)) == []
    assert "does not answer" in echo(nobody)


def test_without_pynetdicom_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynetdicom", None)
    nobody = Destination(host="127.0.0.1", port=1, called_ae="X")
    with pytest.raises(UsageError, match=r"resdx\[send\]"):
        list(send([], nobody))


@pytest.mark.parametrize(
    "wrong", [{"called_ae": "A" * 17}, {"called_ae": " "}, {"called_ae": "A\\B"}, {"port": 0}, {"host": ""}]
)
def test_a_destination_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Destination.model_validate({"host": "pacs", "port": 104, "called_ae": "PACS"} | wrong)


def test_what_was_sent_counts_for_its_destination_alone(tmp_path: Path) -> None:
    record = SentRecord(tmp_path / "new" / "sent.jsonl")
    one = Destination(host="a", called_ae="PACS")
    record.add("1.2.3", one)
    record.add("1.2.3", one)
    again = SentRecord(tmp_path / "new" / "sent.jsonl")
    assert len(again) == 1
    assert again.holds("1.2.3", one)
    assert again.holds("1.2.3", one.model_copy(update={"ae_title": "OTHER", "timeout_seconds": 1.0}))
    assert not again.holds("1.2.3", one.model_copy(update={"host": "b"}))
    assert not again.holds("1.2.4", one)


def test_a_line_that_a_crash_cut_off_is_not_counted_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path, one = tmp_path / "sent.jsonl", Destination(host="a", called_ae="PACS")
    SentRecord(path).add("1.2.3", one)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole.replace(b"1.2.3", b"1.2.4")[:cut])
        record = SentRecord(path)
        assert len(record) == 1
        record.add("1.2.5", one)
        assert path.read_bytes().startswith(whole)
        assert SentRecord(path).holds("1.2.5", one)
        assert len(SentRecord(path)) == 2


def test_damage_within_the_record_is_named(tmp_path: Path) -> None:
    path, one = tmp_path / "sent.jsonl", Destination(host="a", called_ae="PACS")
    SentRecord(path).add("1.2.3", one)
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(LedgerError, match="Line 1 of"):
        SentRecord(path)
