"""How much memory a worker may take: a limit of the system's where it has one, else the parent's watch over it."""

import logging
from pathlib import Path

import psutil

log = logging.getLogger("resdx")

WATCH_SECONDS = 0.2
"""How often the parent looks at workers that no limit holds."""


def limit_memory(memory_bytes: int) -> bool:
    """Limit this process to so much address space beyond what it holds; return whether the system can (Linux)."""
    try:
        import resource

        idle = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit = idle + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError) as error:  # Windows, macOS
        log.debug("this system limits no process; the parent watches: %s", error)
        return False
    return True


def held_bytes(process: int | None) -> int:
    """Bytes of memory that a process holds; 0 where it is gone."""
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0
