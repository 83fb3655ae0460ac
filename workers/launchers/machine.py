"""What this machine offers to workers that run on it, and what its kernel says about those that died."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path

import workers
from workers.contract import Resources

_VMSTAT = Path("/proc/vmstat")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA cards TensorFlow could see from this process, found without importing TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return cards if visible is None else min(cards, len([card for card in visible.split(",") if card.strip()]))


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


def child_environment() -> dict[str, str]:
    """The environment of a child of this process: this project is importable there, as it is here."""
    paths = [str(Path(workers.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
