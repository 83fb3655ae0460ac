"""What this machine offers to workers that run on it, and what its kernel says about those that died."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import socket
import sys
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import workers
from workers.contract import Resources

_VMSTAT = Path("/proc/vmstat")
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_GROUPS = Path("/proc/self/cgroup")
_LIMITS = Path("/sys/fs/cgroup")
_BOOT, _PIDS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA cards TensorFlow could see from this process, found without importing TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return cards if visible is None else min(cards, len([card for card in visible.split(",") if card.strip()]))


def memory() -> int:
    """Bytes that the processes of this machine may hold, or of the container around this process where that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder, name in _groups():
        for path in (folder, *folder.parents):
            if path.is_relative_to(_LIMITS):
                with suppress(OSError, ValueError):  # "max" is no number
                    found.append(int((path / name).read_text()))
    return min(found)


def _groups() -> list[tuple[Path, str]]:
    """The folders of this process' control groups that may limit memory, with the limit's name: versions 2 and 1."""
    try:
        lines = [line.split(":", 2) for line in _GROUPS.read_text().splitlines()]
    except OSError:
        return []
    second = [(_LIMITS / path.lstrip("/"), "memory.max") for _, kinds, path in lines if not kinds]
    first = [path.lstrip("/") for _, kinds, path in lines if "memory" in kinds.split(",")]
    return [*second, *((_LIMITS / "memory" / path, "memory.limit_in_bytes") for path in first)]


def misfit(resources: Resources) -> str | None:
    """None where one assignment of this shape fits this machine, else why not. A worker uses one card at most."""
    if resources.cpus > cpus():
        return f"A trial asks for {resources.cpus:g} CPUs, and this machine has {cpus()}. Ask for at most {cpus()}."
    if resources.gpus > gpus():
        return f"A trial asks for {resources.gpus:g} GPUs, and this machine has {gpus()}. Ask for at most {gpus()}."
    if resources.gpus > 1:
        return f"A trial asks for {resources.gpus:g} GPUs; a worker trains on one card. Ask for at most 1."
    return None


def nodes() -> dict[str, dict[str, float]]:
    """What this machine has for its workers, each of which uses one card at most. See `workers.contract.Launcher`."""
    return {platform.node(): {"CPU": float(cpus()), "GPU": float(min(1, gpus()))}}


def oom_kills() -> int | None:
    """How many processes the kernel has killed for memory since it started; None where it does not say."""
    try:
        for line in _VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return None
    return None


def how_ended(status: int) -> str:
    """A process' `returncode` in words: "with exit code 3", "by signal SIGKILL"."""
    if status >= 0:
        return f"with exit code {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def child_command(module: str, *arguments: str) -> list[str]:
    """The command of a child that runs one of this project's modules: not one of a folder `workers` where we are."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """The environment of a child of this process: this project is importable there, as it is here."""
    paths = [str(Path(workers.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def process_name() -> str:
    """A name for this process, another one at each call: HOST:PID:KERNEL-RANDOM."""
    return f"{socket.gethostname()}:{os.getpid()}:{_kernel()}-{uuid.uuid4().hex[:8]}"


def is_gone(process: str) -> bool:
    """Whether a `process_name` is that of a process of this machine that has ended. Of others nothing is known."""
    host, pid, rest = process.split(":", 2)
    here = host == socket.gethostname() and rest.partition("-")[0] == _kernel()
    return here and not alive(int(pid))


@cache
def _kernel() -> str:
    """Tells what numbers the processes here from what does elsewhere: machines and containers may share a host name."""
    try:
        parts = [_BOOT.read_text(), str(_PIDS.readlink())]
    except OSError:  # not Linux
        parts = [str(uuid.getnode())]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def alive(pid: int) -> bool:
    """Whether there is a process of this number, whoever it belongs to."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
