"""What the machine has that a process may use."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = {
    "": (Path("/sys/fs/cgroup"), "memory.max"),
    "memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
}
"""Where limits stand, by the controller that /proc/self/cgroup names: version 2, version 1."""

WORKERS_SHARE = 0.8
"""Part of the memory that all worker processes may take together; the rest is for this one and for other programs."""

SMALLEST_SHARE = 1024**3
"""A worker may take this much in any case: less would refuse ordinary volumes."""


PROCESSOR = Path("/proc/cpuinfo")

ARITHMETIC = frozenset(
    {"avx2", "fma", "avx_vnni", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16", "amx_int8"}
    | {"asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"}
)
"""Flags of /proc/cpuinfo that tell in which instructions a network is computed, and so how its results are rounded."""

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Those of them that compute in bfloat16."""

WIDE = BFLOAT16 | {"avx512f"}
"""Those with one of which PyTorch computes in bfloat16 at a bearable speed; else a 3D ResNet-18 took
18 s for 64 cubed, and 0.3 s in float32."""


def processor() -> tuple[str, tuple[str, ...]]:
    """Name of the processor as it calls itself, and which of ARITHMETIC it has, in order; none where nobody tells."""
    try:
        lines = PROCESSOR.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    name = told.get("model name") or platform.processor() or platform.machine()
    flags = told.get("flags") or told.get("Features") or ""
    return name, tuple(sorted(ARITHMETIC & set(flags.split())))


def bfloat16_units() -> tuple[str, ...]:
    """Name the units for bfloat16 that the processor has, by their flags; none, too, where nobody tells."""
    return tuple(flag for flag in processor()[1] if flag in BFLOAT16)


def crawls_in_bfloat16() -> bool:
    """Whether PyTorch is far slower in bfloat16 than in float32 on this processor; not where nobody tells."""
    flags = processor()[1]
    return bool(flags) and not WIDE.intersection(flags)


def cores() -> int:
    """Processors that this process may use: those it is bound to, where the system tells (Linux), else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit() -> int:
    """Bytes this process may use: the least of the machine's memory and the limits of its control groups."""
    total = int(psutil.virtual_memory().total)
    for path in _limit_files():
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _limit_files() -> Iterator[Path]:
    """Files of the limits that hold for this process: of its own group and of all above it.

    In a container the groups are often named as the host sees them; its own limit then stands at the top.
    """
    try:
        groups = [line.split(":", 2)[1:] for line in OWN_CGROUPS.read_text().splitlines()]
    except OSError:
        groups = []
    for controllers, group in [*groups, ["", "/"], ["memory", "/"]]:
        for controller in {"", "memory"} & set(controllers.split(",")):
            top, name = CGROUPS[controller]
            inner = PurePosixPath(group.lstrip("/"))
            yield from (top / folder / name for folder in (inner, *inner.parents))


def memory_share(processes: int) -> int:
    """Bytes that each of some worker processes may take where nothing else is said."""
    return max(SMALLEST_SHARE, int(memory_limit() * WORKERS_SHARE / processes))
