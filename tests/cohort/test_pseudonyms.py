import hashlib
import hmac
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.errors import UsageError

KEY = bytes(range(32))


def opened(folder: Path, key: bytes = KEY) -> Pseudonyms:
    path = folder / "key"
    path.write_bytes(key)
    path.chmod(0o600)
    return Pseudonyms.open(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_names_are_the_hmac_of_kind_and_identifier(tmp_path: Path) -> None:
    names = opened(tmp_path)
    for prefix, kind in {"P": "patient", "T": "study", "S": "series", "C": "case"}.items():
        expected = hmac.new(KEY, f"{kind}\0".encode() + "MÜLLER^1".encode(), hashlib.sha256).hexdigest()[:16]
        assert getattr(names, kind)("MÜLLER^1") == prefix + expected


def test_another_key_gives_other_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert opened(tmp_path / "a").patient("1") != opened(tmp_path / "b", KEY[::-1]).patient("1")


def test_similar_identifiers_have_different_names(tmp_path: Path) -> None:
    names = opened(tmp_path)
    raw = ["", "1", "01", "001", "1 ", " 1", "one", "ONE", "a|L", "a|R", "\udcff"]
    assert len({names.case(text) for text in raw}) == len(raw)


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "config" / "resdx" / "key"
    first = Pseudonyms.open(path)
    assert (mode(path), mode(path.parent), len(path.read_bytes())) == (0o600, 0o700, 32)
    assert Pseudonyms.open(path).patient("1") == first.patient("1")
    assert Pseudonyms.open(tmp_path / "other").patient("1") != first.patient("1")


def test_the_key_is_found_by_the_environment_else_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESDX_KEY_FILE", str(tmp_path / "named"))
    assert Pseudonyms.open(None).key_file == tmp_path / "named"
    monkeypatch.delenv("RESDX_KEY_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Pseudonyms.open(None).key_file == tmp_path / ".config" / "resdx" / "key"


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, loose: int) -> None:
    opened(tmp_path)
    (tmp_path / "key").chmod(loose)
    with pytest.raises(UsageError, match=r"Others than you.*chmod 600"):
        Pseudonyms.open(tmp_path / "key")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="5 bytes"):
        opened(tmp_path, b"short")
    with pytest.raises(UsageError, match="cannot be opened: Is a directory"):
        Pseudonyms.open(tmp_path)


def test_the_key_shows_nowhere_but_travels_to_workers(tmp_path: Path) -> None:
    names = opened(tmp_path, b"k" * 32)
    assert "kkkk" not in repr(names)
    assert pickle.loads(pickle.dumps(names)).patient("1") == names.patient("1")


def test_processes_that_come_at_once_agree_on_the_key_and_lose_no_row_of_the_map(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.cohort.pseudonyms import Pseudonyms\n"
        "names = Pseudonyms.open(Path(sys.argv[1]))\n"
        "for number in range(3):\n"
        "    names.remember(patient=f'{sys.argv[2]}-{number}'); names.save_map()\n"
        "print(names.patient('1'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new" / "key")]
    running = [subprocess.Popen([*command, str(who)], stdout=subprocess.PIPE, text=True) for who in range(4)]
    said = {process.communicate()[0] for process in running}
    names = Pseudonyms.open(tmp_path / "new" / "key")
    assert said == {names.patient("1") + "\n"}
    assert {raw for _, raw in names.known().values()} == {f"{who}-{number}" for who in range(4) for number in range(3)}


def test_the_map_leads_back_and_is_for_its_owner_only(tmp_path: Path) -> None:
    names = opened(tmp_path)
    awkward = ["007", "=cmd", "'=cmd", 'a,b\n\r"c', "Ł^ו", "\udcff", r"a\xFF"]
    for raw in awkward:
        names.remember(patient=raw, study=f"{raw}.s")
    names.remember(series="1.2.3", case="")
    path = names.save_map()
    assert path == tmp_path / "key.map.csv" and mode(path) == 0o600
    assert not re.search(r"(^|,)=", path.read_text(encoding="utf-8"), re.MULTILINE)
    known = opened(tmp_path).known()
    assert [known[names.patient(raw)] for raw in awkward] == [("patient", raw) for raw in awkward]
    assert known[names.series("1.2.3")] == ("series", "1.2.3")
    assert len(known) == 2 * len(awkward) + 1


@pytest.mark.parametrize("place", ["key", "deep/er/key", "link/key"])
def test_no_key_is_made_among_the_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    scans, link = tmp_path / "scans", tmp_path / "link"
    scans.mkdir()
    link.symlink_to(scans)
    path = tmp_path / place if place.startswith("link") else scans / place
    monkeypatch.setenv("RESDX_KEY_FILE", str(path))
    for given in (path, None):
        with pytest.raises(UsageError, match="folder of scans"):
            Pseudonyms.open(given, outside=scans)
    assert not list(scans.iterdir())
    assert Pseudonyms.open(tmp_path / "scans-key", outside=scans).key_file.exists()


def test_an_identifier_without_end_does_not_spoil_the_map(tmp_path: Path) -> None:
    names = opened(tmp_path)
    names.remember(patient="X" * 200_000)
    names.save_map()
    again = opened(tmp_path)
    again.remember(patient="other")
    again.save_map()
    assert again.map_file.read_text().count("X" * 200_000) == 1


def test_a_map_that_cannot_be_kept_is_known_at_once(tmp_path: Path) -> None:
    names = opened(tmp_path)
    names.check_map()
    lock = names.map_file.with_name(f"{names.map_file.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    with pytest.raises(UsageError, match=r"cannot be written.*key_file"):
        names.check_map()


def test_a_map_that_holds_all_is_left_alone(tmp_path: Path) -> None:
    names = Pseudonyms.open(tmp_path / "key")
    names.remember(patient="a")
    path = names.save_map()
    written = path.stat().st_ino
    names.remember(patient="a")
    names.save_map()
    assert path.stat().st_ino == written
    names.remember(patient="b")
    names.save_map()
    assert {raw for _, raw in names.known().values()} == {"a", "b"}
    path.unlink()
    names.save_map()
    assert len(names.known()) == 2
