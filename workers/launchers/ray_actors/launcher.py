"""A launcher whose workers are Ray actors. They stay warm between trials.

Ray retries nothing: a lost worker is told as `Lost`, and retrying is the coordinator's. In Ray's dashboard the
job has the study's name, actors are called `ockham-worker-N`, each call has the name of its trials, and the
gauges `tuner_trial_epoch` and `tuner_trial_objective` follow every trial.

On a cluster that outlives this process the actors do so as well: when it is killed they train their slice to its end,
and the next launcher finds them there (`held`). One that nobody asks any more ends itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from workers.contract import Assignment, LauncherError, Resources
from workers.launchers.capacity import KINDS, Capacity, needs
from workers.launchers.machine import is_gone, process_name
from workers.launchers.pool import Pool
from workers.launchers.ray_actors.actor_link import ORPHAN_SECONDS, ActorLink
from workers.launchers.ray_actors.cluster import NAMESPACE, Cluster
from workers.launchers.ray_actors.trial_worker import TrialWorker
from workers.launchers.ray_session import last_line
from workers.launchers.slot import Limits
from workers.launchers.transport import Answer, Gone, Link, Planned
from workers.version import version

LEASE_SECONDS = 300.0  # a worker that outlived its launcher waits so long for the next one
_TOUCH_SECONDS = 5.0  # a worker that has nothing to do hears from its launcher this often
_ASK_SECONDS = 10.0  # workers are given so long to say what they hold: they finish a slice first
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
        lease_seconds: on a cluster that outlives this process, how long its workers wait for the next launcher.
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
        lease_seconds: float = LEASE_SECONDS,
        system: dict[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        if workers is not None and workers < 1:
            raise LauncherError(f"The number of workers is {workers}; it has to be at least 1, or None for all.")
        self._cluster = Cluster(address, workers, job_name, dashboard, log_to_driver, system or {})
        super().__init__(Actors(self._cluster, workers, lease_seconds), Limits(**limits))

    @property
    def shared(self) -> bool:
        """Whether an address names the cluster: it outlives this process, and its nodes may be other machines."""
        return self._cluster.shared

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

    def __init__(self, cluster: Cluster, limit: int | None, lease: float) -> None:
        self._cluster = cluster
        self._limit = limit
        self._lease = lease if cluster.shared else None
        self._master = process_name()
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

    def space(self, resources: Resources, held: Sequence[Link | Planned]) -> int:
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
            if self._lease is not None:
                options["lifetime"] = "detached"
            try:
                handle = self._class.options(**options).remote(name, self._master, self._lease)
            except ValueError:
                continue  # another coordinator on this cluster has a worker of this name
            except RayError as error:
                raise LauncherError(f"Ray did not take a new worker: {last_line(error)}") from error
            link = ActorLink(name, resources, handle, self._cluster.logs, self._master)
            self._links.append(link)
            return link

    def orphans(self) -> list[tuple[Link, Assignment]]:
        if self._lease is None:
            return []
        self._links = [link for link in self._links if link.ours and not link.ended]
        try:
            workers = self._cluster.workers()
        except RayError as error:
            raise LauncherError(f"The Ray cluster does not answer: {last_line(error)}") from error
        for link in self._links:
            workers.pop(link.name, None)
        asked = [
            ActorLink(name, Resources(), handle, None, self._master, ours=False) for name, handle in workers.items()
        ]
        for link in asked:
            link.call("holds", [], link.name)
        found: list[tuple[ActorLink, Assignment]] = []
        end = time.monotonic() + _ASK_SECONDS
        while (waiting := [link for link in asked if link.calls]) and (left := end - time.monotonic()) > 0:
            for link, said in self._heard(waiting, left):
                if isinstance(said, Answer) and (assignment := _left_behind(link, said.form)):
                    found.append((link, assignment))
        self._links += [link for link, _ in found]
        return [*found]

    def wait(self, links: Sequence[ActorLink], seconds: float) -> list[tuple[Link, Answer | Gone]]:
        for link in links if self._lease is not None else ():
            if not link.calls and time.monotonic() - link.spoken > _TOUCH_SECONDS:
                link.call("holds", [], link.name)  # its lease is renewed by that; nobody waits for the answer
        return [*self._heard(links, seconds)]

    def _heard(self, links: Sequence[ActorLink], seconds: float) -> list[tuple[ActorLink, Answer | Gone]]:
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
        return [(link, said) for reference in ready if (said := (link := waiting[reference]).hear(reference))]

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
            ours = sum(needs(link.resources).get(kind, 0.0) for link in self._links if link.ours)
            others[kind] = max(0.0, total - free.get(kind, 0.0) - ours)
        return others


def _left_behind(link: ActorLink, form: dict[str, Any]) -> Assignment | None:
    """What a worker whose master is gone holds. One that holds nothing, or is of another version, is ended."""
    if "failed" in form or not (is_gone(form["master"]) or form.get("silent", 0.0) > ORPHAN_SECONDS):
        return None
    if form["value"] is None or form["version"] != version():
        link.kill()
        return None
    assignment = Assignment.from_json(form["value"])
    link.resources = assignment.resources
    return assignment
