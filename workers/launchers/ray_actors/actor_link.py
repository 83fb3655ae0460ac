"""One actor, as its launcher sees it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from workers.contract import Resources
from workers.failures import LOG_BYTES
from workers.launchers import ray_session
from workers.launchers.ray_session import last_line
from workers.launchers.transport import Answer, Gone

ORPHAN_SECONDS = 20.0  # a worker that has not heard from its master for so long may be taken over by another
_MOMENT_SECONDS = 3.0  # a worker that may have been is asked for so long before it is ended: it finishes a slice first


class ActorLink:
    """One actor, as its launcher sees it. `ours`: this launcher is its master; else it may only say what it holds."""

    def __init__(
        self, name: str, resources: Resources, handle: Any, logs: Path | None, master: str, ours: bool = True
    ) -> None:
        self.name, self.resources, self.ours = name, resources, ours
        self.spoken = time.monotonic()
        self._obeyed = time.monotonic()  # when the question was asked that it answered last
        self._master = master
        self.calls: dict[Any, tuple[int, float]] = {}  # answers that are not there yet: their numbers, when asked for
        self.node = ""  # known from the first answer on
        self.ended = False
        self._handle = handle
        self._logs = logs
        self._pid: int | None = None
        self._count = 0

    def call(self, method: str, arguments: Sequence[Any], label: str) -> int:
        self._count += 1
        self.ours |= method == "repeat"
        self.spoken = time.monotonic()
        asked = {"call": self._count, "method": method, "arguments": arguments, "master": self._master}
        request = json.dumps(asked)
        self.calls[self._handle.do.options(name=label).remote(request)] = self._count, self.spoken
        return self._count

    def hear(self, reference: Any) -> Answer | Gone | None:
        """Take in an answer that is there; None where nobody waits for it any more."""
        if reference not in self.calls:
            return None
        call, asked = self.calls.pop(reference)
        try:
            form = json.loads(ray.get(reference))
        except RayError as error:
            self.calls.clear()
            return self._gone(error)
        self._pid, self.node = form["pid"], form["node"]
        if form.get("taken"):
            self.calls.clear()
            self.ours = False
            return Gone("node_lost", f"Worker {self.name} belongs to another coordinator now.")
        self._obeyed = asked
        return Answer(call, form)

    def end(self) -> str:
        self.ended = True
        self.calls.clear()
        if self.ours and not self._was_taken():
            self.kill()
        return self._output()

    def kill(self) -> None:
        """End the actor's process, whoever its master is."""
        with suppress(RayError, ValueError):  # it is gone already, or the cluster is
            ray.kill(self._handle, no_restart=True)

    def _was_taken(self) -> bool:
        """Whether another launcher took it over while this process was frozen or away, as far as that can be seen."""
        if time.monotonic() - self._obeyed < ORPHAN_SECONDS:
            return False
        self.call("holds", [], self.name)
        [reference] = self.calls
        with suppress(RayError):
            ray.wait([reference], timeout=_MOMENT_SECONDS)
            form = json.loads(ray.get(reference, timeout=0))
            return bool(form["master"] != self._master)
        return False

    def _gone(self, error: RayError) -> Gone:
        text = str(error)
        if pid := re.search(r"^\s*pid: (\d+)$", text, re.MULTILINE):
            self._pid = int(pid[1])
        log = (self._output() or text)[-LOG_BYTES:].lstrip()
        if isinstance(error, OutOfMemoryError) or "running low on memory" in text:
            return Gone("oom", f"Worker {self.name} was ended because its node was running low on memory.", log)
        who = f"Worker {self.name}" + (f" (process {self._pid})" if self._pid else "")
        if isinstance(error, RayActorError) and error.actor_init_failed:
            return Gone("node_lost", f"{who} could not start: {last_line(error)}", log)
        if isinstance(error, ActorUnavailableError):  # its process would be known to have ended
            return Gone("node_lost", f"{who} cannot be reached: its node is gone, or the way to it.", log)
        if "unexpected" in text and "connection error" in text:
            message = f"{who} ended unexpectedly: it was killed, crashed, or left by os._exit."
            return Gone("node_lost", message, log, process_end="unexpectedly")
        return Gone("node_lost", f"{who} is gone: {last_line(error)}", log)

    def _output(self) -> str:
        return ray_session.last_output(self._logs, self._pid, LOG_BYTES) if self._logs and self._pid else ""
