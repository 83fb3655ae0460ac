"""A launcher whose workers are Ray actors. They stay warm between trials.

Ray retries nothing: a lost worker is told as `Lost`, and retrying is the coordinator's. In Ray's dashboard the
job has the study's name, actors are called `ockham-worker-N`, each call has the name of its trials, and the
gauges `tuner_trial_epoch` and `tuner_trial_objective` follow every trial.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from workers.contract import LauncherError, Resources
from workers.failures import LOG_BYTES
from workers.launchers import ray_session
from workers.launchers.capacity import KINDS, Capacity, needs
from workers.launchers.pool import Pool
from workers.launchers.ray_actors.cluster import NAMESPACE, Cluster, last_line
from workers.launchers.ray_actors.trial_worker import TrialWorker
from workers.launchers.slot import Limits
from workers.launchers.transport import Answer, Gone, Link

_LOOK_SECONDS = 1.0  # what the cluster offers is asked this often
_MANY = 10_000  # workers of a shape that needs nothing


class RayLauncher(Pool):
    """Ray actors; see `workers.contract.Launcher` for its methods.

    Args:
        address: None: a local cluster of this process, ended with it (or the one named in RAY_ADDRESS, or the one
            this process is connected to). "auto", "host:port" or "ray://host:port": an existing cluster.
        workers: how many actors at most; None: as many as the cluster has room for.
        job_name: what Ray's dashboard calls this program, for example the study's name.
        dashboard: whether a local cluster has a dashboard.
        log_to_driver: whether what trials print appears here.
        system: further keyword arguments of `ray.init` for a local cluster, for example `{"num_gpus": 1}`.
        limits: fields of `Limits`, for example `hang_seconds=30` or `trials=50`.

    Raises:
        LauncherError: the cluster cannot be reached; one sentence names the address and the cause.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        *,
        job_name: str = "ockham",
        dashboard: bool = True,
        log_to_driver: bool = False,
        system: dict[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        if workers is not None and workers < 1:
            raise LauncherError(f"The number of workers is {workers}; it has to be at least 1, or None for all.")
        self._cluster = Cluster(address, workers, job_name, dashboard, log_to_driver, system or {})
        super().__init__(Actors(self._cluster, workers), Limits(**limits))

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard is, or None where there is none."""
        return self._cluster.dashboard_url

    @property
    def dashboard_hint(self) -> str:
        """How to log in to the dashboard; "" where it asks for no token. Never the token itself."""
        return self._cluster.dashboard_hint


class Actors:
    """Makes actors and hears from them."""

    def __init__(self, cluster: Cluster, limit: int | None) -> None:
        self._cluster = cluster
        self._limit = limit
        self._class = ray.remote(max_restarts=0, max_task_retries=0)(TrialWorker)
        self._count = 0
        self._links: list[ActorLink] = []
        self._capacity = Capacity()
        self._next_look = 0.0

    def fits(self, resources: Resources) -> str | None:
        self._look()
        return self._capacity.misfit(resources)

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        self._look()
        nodes = self._capacity.nodes.items()
        return {name: {kind: node[kind] for kind in KINDS if kind in node} for name, node in nodes}

    def space(self, resources: Resources, held: Sequence[Link]) -> int:
        limit = math.inf if self._limit is None else self._limit - len(held)
        if limit < 1:
            return 0
        self._look()
        placed = [(getattr(link, "node", ""), link.resources) for link in held]
        return int(min(limit, self._capacity.room(resources, placed), _MANY))

    def create(self, resources: Resources) -> ActorLink:
        while True:
            self._count += 1
            name = f"ockham-worker-{self._count}"
            options = {"name": name, "namespace": NAMESPACE, "num_cpus": resources.cpus, "num_gpus": resources.gpus}
            try:
                handle = self._class.options(**options).remote(name)
            except ValueError:
                continue  # another coordinator on this cluster has a worker of this name
            except RayError as error:
                raise LauncherError(f"Ray did not take a new worker: {last_line(error)}") from error
            link = ActorLink(name, resources, handle, self._cluster.logs)
            self._links.append(link)
            return link

    def wait(self, links: Sequence[ActorLink], seconds: float) -> list[tuple[Link, Answer | Gone]]:
        waiting = {reference: link for link in links for reference in link.calls}
        if not waiting:
            time.sleep(seconds)
            return []
        references = list(waiting)
        try:
            ready, _ = ray.wait(references, num_returns=1, timeout=seconds)
            if ready and len(references) > 1:
                ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        except RayError as error:
            raise LauncherError(f"The Ray cluster does not answer: {last_line(error)}") from error
        return [(waiting[reference], waiting[reference].hear(reference)) for reference in ready]

    def close(self) -> None:
        self._cluster.close()

    def _look(self) -> None:
        """What the nodes have, and what others use of it; the second while all of our workers are placed."""
        if time.monotonic() < self._next_look:
            return
        self._links = [link for link in self._links if not link.ended]
        try:
            nodes = self._cluster.nodes()
            placed = all(link.node for link in self._links)
            others = self._used_by_others(nodes) if placed else self._capacity.others
        except RayError as error:
            raise LauncherError(f"The Ray cluster does not answer: {last_line(error)}") from error
        self._capacity = Capacity(nodes, others)
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def _used_by_others(self, nodes: dict[str, dict[str, float]]) -> dict[str, float]:
        free = self._cluster.free()
        others = {}
        for kind in KINDS:
            total = sum(node.get(kind, 0.0) for node in nodes.values())
            ours = sum(needs(link.resources).get(kind, 0.0) for link in self._links)
            others[kind] = max(0.0, total - free.get(kind, 0.0) - ours)
        return others


class ActorLink:
    """One actor, as its launcher sees it."""

    def __init__(self, name: str, resources: Resources, handle: Any, logs: Path | None) -> None:
        self.name, self.resources = name, resources
        self.calls: dict[Any, int] = {}  # references to answers that are not there yet
        self.node = ""  # known from the first answer on
        self.ended = False
        self._handle = handle
        self._logs = logs
        self._pid: int | None = None
        self._count = 0

    def call(self, method: str, arguments: Sequence[Any], label: str) -> int:
        self._count += 1
        request = json.dumps({"call": self._count, "method": method, "arguments": arguments})
        self.calls[self._handle.do.options(name=label).remote(request)] = self._count
        return self._count

    def hear(self, reference: Any) -> Answer | Gone:
        """Take in an answer that is there."""
        call = self.calls.pop(reference)
        try:
            form = json.loads(ray.get(reference))
        except RayError as error:
            self.calls.clear()
            return self._gone(error)
        self._pid, self.node = form["pid"], form["node"]
        return Answer(call, form)

    def end(self) -> str:
        self.ended = True
        self.calls.clear()
        with suppress(RayError, ValueError):  # it is gone already, or the cluster is
            ray.kill(self._handle, no_restart=True)
        return self._output()

    def _gone(self, error: RayError) -> Gone:
        text = str(error)
        if pid := re.search(r"^\s*pid: (\d+)$", text, re.MULTILINE):
            self._pid = int(pid[1])
        log = f"{self._output()}\n{text}"[-LOG_BYTES:].lstrip()
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
