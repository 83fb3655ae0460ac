"""A peer's run in a process tree of its own: measured for memory, or ended when its time is over."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.peers.clock import Course

SAMPLE_SECONDS = 0.2
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Outcome:
    """What a peer made of a fixed list of configurations."""

    seconds: float  # from the start of the clock to the end of the last trial
    errors: list[float]  # 1 - the best validation accuracy, in the order of the list
    parts: dict[str, float]  # where the time went, in core-seconds; Ockham alone says it


def measured(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """Call `function` in a new process; what it returns, and the most resident memory of its process tree in bytes."""
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    peak = 0
    while not receiver.poll(SAMPLE_SECONDS):
        peak = max(peak, _resident(process.pid))
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"What was measured ended with exit code {process.exitcode}; see above.") from None
    process.join()
    return answer, peak


def raced(function: Callable[..., None], course: Course, seconds: float, *arguments: Any) -> None:
    """Call `function(course, ...)` in a new process and end all of its tree `seconds` after its clock has started."""
    process = _SPAWN.Process(target=function, args=(course, *arguments))
    process.start()
    try:
        while course.started is None or time.time() < course.started + seconds:
            if not process.is_alive():
                raise SystemExit(f"The search ended with exit code {process.exitcode}; see above.")
            time.sleep(SAMPLE_SECONDS)
    finally:
        for member in reversed(_tree(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.join()


def in_processes(worker: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answers of `worker(*arguments[i])`, each in a process of its own, all at once."""
    with ProcessPoolExecutor(len(arguments), mp_context=_SPAWN) as pool:
        return [future.result() for future in [pool.submit(worker, *given) for given in arguments]]


def _answer(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(function(*arguments))


def _tree(pid: int | None) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(pid: int | None) -> int:
    total = 0
    for member in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total
