"""Trials in child processes of this one: light, isolated from each other, without a cluster.

Requests and answers are lines of JSON over pipes. What a trial prints goes to a ring of its last output, which
becomes the log of a lost worker. A child ends with this process, however that ends.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workers.contract import Assignment, LauncherError, Resources
from workers.failures import LOG_BYTES
from workers.launchers.machine import child_command, child_environment, gpus, how_ended, misfit, nodes, oom_kills
from workers.launchers.pool import Pool
from workers.launchers.slot import Limits
from workers.launchers.transport import Answer, Gone, Link, Planned

_LOOK_SECONDS = 0.5  # a child whose own children keep its pipes open is noticed by its exit status, this often
_CHUNK = 1 << 18


class ProcessLauncher(Pool):
    """Child processes of this one; see `workers.contract.Launcher` for its methods.

    Args:
        workers: how many at most. They are started when needed and stay warm.
        limits: fields of `Limits`, for example `hang_seconds=30` or `trials=50`.
    """

    def __init__(self, workers: int = 2, **limits: Any) -> None:
        if workers < 1:
            raise LauncherError(f"The number of workers is {workers}; it has to be at least 1.")
        super().__init__(Processes(workers), Limits(**limits))


class Child:
    """One child process."""

    def __init__(self, name: str, resources: Resources, selector: selectors.BaseSelector) -> None:
        self.name, self.resources = name, resources
        self._selector = selector
        self._calls = 0
        self._unsent = b""
        self._received = b""
        self._output = bytearray()  # the last of what it printed
        self._oom_kills = oom_kills()
        self.process = subprocess.Popen(
            child_command("workers.launchers.process_worker", name, str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the coordinator alone
        )
        self._stdin, self._stdout, self._stderr = (
            stream.fileno() for stream in (self.process.stdin, self.process.stdout, self.process.stderr) if stream
        )
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        selector.register(self._stdout, selectors.EVENT_READ, (self, "answers"))
        selector.register(self._stderr, selectors.EVENT_READ, (self, "output"))

    def call(self, method: str, arguments: Sequence[Any], label: str) -> int:  # noqa: ARG002 - nothing shows the label
        self._calls += 1
        request = json.dumps({"call": self._calls, "method": method, "arguments": arguments})
        self._unsent += request.encode() + b"\n"
        self.send()
        return self._calls

    def send(self) -> None:
        """Write what the pipe takes; the rest follows when the child has read some. A dead child shows by its exit."""
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def read(self, stream: str) -> Iterator[Answer]:
        """Take in what is there, and yield the answers that are complete with it."""
        if stream == "output":
            self._take_output()
            return
        chunk = _read(self._stdout)
        if chunk == b"":
            self._selector.unregister(self._stdout)
        *lines, self._received = (self._received + (chunk or b"")).split(b"\n")
        for line in lines:
            form = json.loads(line)
            yield Answer(form["call"], form)

    def gone(self) -> Gone | None:
        """How the process ended, or None while it lives."""
        status = self.process.poll()
        if status is None:
            return None
        killed_for_memory = status == -signal.SIGKILL and (oom_kills() or 0) > (self._oom_kills or 0)
        reason = " when the machine's memory was exhausted" if killed_for_memory else ""
        message = f"Worker {self.name} (process {self.process.pid}) ended {how_ended(status)}{reason}."
        return Gone("oom" if killed_for_memory else "node_lost", message, process_end=how_ended(status))

    def end(self) -> str:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own children, too
        except (ProcessLookupError, PermissionError):
            self.process.kill()
        self.process.wait()
        self._take_output()
        for descriptor in (self._stdout, self._stderr):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return self._output.decode("utf-8", "replace")

    def _take_output(self) -> None:
        while chunk := _read(self._stderr):
            self._output += chunk
            del self._output[:-LOG_BYTES]
        if chunk == b"" and self._stderr in self._selector.get_map():
            self._selector.unregister(self._stderr)


class Processes:
    """Makes child processes and hears from them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._selector = selectors.DefaultSelector()

    def fits(self, resources: Resources) -> str | None:
        return misfit(resources)

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        return nodes()

    def space(self, resources: Resources, held: Sequence[Link | Planned]) -> int:
        if self.fits(resources) is not None:
            return 0
        free = self._limit - len(held)
        if resources.gpus > 0:
            cards = min(1, gpus())  # every child sees the first card as its own
            free = min(free, int((cards - sum(link.resources.gpus for link in held)) / resources.gpus + 1e-9))
        return max(0, free)

    def create(self, resources: Resources) -> Child:
        self._count += 1
        return Child(f"worker-{self._count}", resources, self._selector)

    def orphans(self) -> list[tuple[Link, Assignment]]:
        return []  # a child ends with its parent

    def wait(self, links: Sequence[Child], seconds: float) -> list[tuple[Link, Answer | Gone]]:
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            said = self._select(links, min(left, _LOOK_SECONDS))
            said += [(child, gone) for child in links if (gone := child.gone())]
            if said or left <= 0:
                return said

    def close(self) -> None:
        self._selector.close()

    def _select(self, links: Sequence[Child], seconds: float) -> list[tuple[Link, Answer | Gone]]:
        said: list[tuple[Link, Answer | Gone]] = []
        for child in links:
            if child.unsent:
                child.send()
                seconds = min(seconds, 0.005)  # it has yet to read the rest
        for key, _ in self._selector.select(seconds):
            child, stream = key.data
            said += [(child, answer) for answer in child.read(stream)]
        return said


def _read(descriptor: int) -> bytes | None:
    """What is there, b"" at the end of the stream, None where there is nothing now."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
