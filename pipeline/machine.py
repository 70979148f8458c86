"""What the machine has that a process may use."""

import os
from pathlib import Path

import psutil

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit stands: cgroup version 2, version 1."""

WORKERS_SHARE = 0.8
"""Part of the memory that all worker processes may take together; the rest is for this one and for other programs."""

SMALLEST_SHARE = 1024**3
"""A worker may take this much in any case: less would refuse ordinary volumes."""


def cores() -> int:
    """Processors that this process may use: those it is bound to, where the system tells (Linux), else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit() -> int:
    """Bytes this process may use: the container's limit where there is one, else the machine's memory."""
    total = int(psutil.virtual_memory().total)
    for path in CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def memory_share(processes: int) -> int:
    """Bytes that each of some worker processes may take where nothing else is said."""
    return max(SMALLEST_SHARE, int(memory_limit() * WORKERS_SHARE / processes))
