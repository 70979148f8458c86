"""Tables of RESULTS.md: each benchmark replaces its own section and leaves the others as they are."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")

TITLE = """# Measured

Each section is written by the script of its name in this folder, which runs us and the peers in turns and prints the
same tables. What counts is the ratio: absolute times are those of one machine at one hour.
"""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


def write_section(name: str, title: str, body: str, packages: Sequence[str], *, remarks: Sequence[str] = ()) -> str:
    """Replace the section `name` of RESULTS.md, and return its text.

    Parameters
    ----------
    packages : sequence of str
        Distributions whose versions are named.
    remarks : sequence of str
        What a reader must know to judge the figures, such as that the machine was not quiet.
    """
    notes = "\n".join(
        f"- {remark}" for remark in (*remarks, f"{_machine()}; {datetime.now(UTC):%Y-%m-%d}", _versions(packages))
    )
    section = f"<!-- {name} -->\n## {title}\n\n{body}\n\n{notes}\n<!-- end of {name} -->\n"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else TITLE
    pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end of {name} -->\n", re.DOTALL)
    replaced, found = pattern.subn(lambda _: section, text)
    RESULTS.write_text(replaced if found else f"{text}\n{section}", encoding="utf-8")
    return section


def section(name: str) -> str:
    """Text of a section as it stands; empty where there is none yet."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->\n", text, re.DOTALL)
    return found[1] if found else ""


def _machine() -> str:
    model = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} logical processors, {platform.system()}, Python {platform.python_version()}"


def _versions(packages: Sequence[str]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)
