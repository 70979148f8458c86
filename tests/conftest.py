"""Fixtures that every folder of tests may use, and the rule about skips."""

import importlib.util
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is there: so many processes, one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("RESDX_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
ALLOWED_SKIPS = ("gpu: ", "shared_data: ")
SKIPPED: list[tuple[str, str]] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cuda = False
    if importlib.util.find_spec("torch") and any("gpu" in item.keywords for item in items):
        import torch

        cuda = torch.cuda.is_available()
    for item in items:
        if "shared_data" in item.keywords and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="shared_data: the real data folder is absent"))
        if "gpu" in item.keywords and not cuda:
            item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        SKIPPED.append((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With RESDX_FAIL_ON_SKIPS set, a skip for any other reason than absent hardware or data is a failure.

    Of several processes the one that hands out the tests hears of every skip, and says so.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    others = [f"{name}: {reason}" for name, reason in SKIPPED if not reason.startswith(ALLOWED_SKIPS)]
    if others and os.environ.get("RESDX_FAIL_ON_SKIPS"):
        print("\nskipped for a reason that is not allowed here:", *others, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data folder; use with the marker of the same name."""
    return SHARED_DATA


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's pseudonym key or tracking store."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("RESDX_KEY_FILE", str(home / "key"))
