"""Trials in long-lived Ray actors, on a local cluster or an existing one.

Actors stay warm between trials. Ray retries nothing: a lost worker is told as `Lost`, and retrying is the
coordinator's. In Ray's dashboard the job has the study's name, actors are called `ockham-worker-N`, each call
has the name of its trials, and the gauges `tuner_trial_epoch` and `tuner_trial_objective` follow every trial.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray.exceptions import OutOfMemoryError, RayActorError, RayError
from ray.job_config import JobConfig
from ray.util.metrics import Gauge

from workers.contract import Assignment, LauncherError, Resources
from workers.failures import LOG_BYTES
from workers.launchers import machine, ray_session
from workers.launchers.desk import answer
from workers.launchers.pool import Limits, Pool
from workers.launchers.transport import Answer, Gone, Link
from workers.worker import Worker

NAMESPACE = "ockham"
_GAUGE_SECONDS = 1.0  # a trial's gauges are refreshed this often
_LOOK_SECONDS = 1.0  # what the cluster offers is asked this often
_OBJECT_STORE = 128 * 1024**2  # bytes; only small JSON texts cross


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


class Cluster:
    """The connection of this process to Ray."""

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        job_name: str,
        dashboard: bool,
        log_to_driver: bool,
        system: dict[str, Any],
    ) -> None:
        self.folder: Path | None = None
        self.dashboard_url: str | None = None
        self._ours = not ray.is_initialized()
        if not self._ours:
            self._require_same(address)
            return
        options = {
            "namespace": NAMESPACE,
            "job_config": JobConfig(metadata={"job_name": job_name}),
            "log_to_driver": log_to_driver,
            "logging_level": logging.ERROR,
        }
        target = address or os.environ.get("RAY_ADDRESS") or "local"
        if target == "local":
            ray_session.private_token()
            self.folder = ray_session.private_folder()
            options.update(
                num_cpus=max(workers, machine.cpus()) if workers else None,
                include_dashboard=dashboard,
                object_store_memory=_OBJECT_STORE,
                _temp_dir=str(self.folder / "r"),
                **system,
            )
        elif target != "auto":
            ray_session.require_answer(target)
        self._connect(target, options)

    def _connect(self, target: str, options: dict[str, Any]) -> None:
        try:
            # nice 15 is Ray's default for workers, which starves trials beside anything else on the machine
            with (
                ray_session.environment(RAY_worker_niceness="0", RAY_USAGE_STATS_ENABLED="0"),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                context = ray.init(target, **options)
        except Exception as error:
            self.close()
            raise LauncherError(_connection_sentence(target, error)) from error
        if not options["log_to_driver"]:
            # Ray prints a paragraph to standard output for every lost worker; it would end up in a program's results.
            ray_worker._worker_logs_enabled = False
        url = getattr(context, "dashboard_url", None)
        self.dashboard_url = f"http://{url}" if url else None

    @property
    def dashboard_hint(self) -> str:
        if self.dashboard_url is None or os.environ.get("RAY_AUTH_MODE") != "token":
            return ""
        return "It asks for a token: `ray get-auth-token` shows it."

    @property
    def logs(self) -> Path | None:
        """Where the workers of a local cluster write what they print."""
        return self.folder / "r" / "session_latest" / "logs" if self.folder else None

    def nodes(self) -> dict[str, dict[str, float]]:
        """What each live node has in all."""
        return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}

    def free(self) -> dict[str, float]:
        """What nobody uses now, over all nodes."""
        return dict(ray.available_resources())

    def close(self) -> None:
        if self._ours and ray.is_initialized():
            ray.shutdown(wait_for_processes=True)
            ray_worker._worker_logs_enabled = True
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _require_same(self, address: str | None) -> None:
        current = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", current):
            raise LauncherError(
                f"This process is connected to Ray at {current} and cannot also connect to {address}. "
                "Call ray.shutdown() first, or leave the address out."
            )


class Actors:
    """Makes actors and hears from them."""

    def __init__(self, cluster: Cluster, limit: int | None) -> None:
        self._cluster = cluster
        self._limit = limit
        self._class = ray.remote(max_restarts=0, max_task_retries=0)(TrialWorker)
        self._count = 0
        self._links: list[ActorLink] = []
        self._nodes: dict[str, dict[str, float]] = {}
        self._others = {"CPU": 0.0, "GPU": 0.0}  # what other programs use of the cluster
        self._next_look = 0.0

    def fits(self, resources: Resources) -> str | None:
        self._look()
        need = _need(resources)
        if any(_times(node, need) >= 1 for node in self._nodes.values()):
            return None
        most = max(self._nodes.values(), key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), default={})
        return (
            f"A trial asks for {_words(need)}, and no node of the Ray cluster has so much: the largest has "
            f"{_words({'CPU': most.get('CPU', 0.0), 'GPU': most.get('GPU', 0.0)})}. Ask for less per trial, or add a "
            "node."
        )

    def space(self, resources: Resources, held: Sequence[Link]) -> int:
        limit = math.inf if self._limit is None else self._limit - len(held)
        if limit < 1:
            return 0
        self._look()
        need = _need(resources)
        free = {node: dict(total) for node, total in self._nodes.items()}
        for link in held:
            used = _need(link.resources)
            where = getattr(link, "node", "")
            node = free.get(where) or next((node for node in free.values() if _times(node, used) >= 1), {})
            for name, amount in used.items():
                node[name] = node.get(name, 0.0) - amount
        everywhere = {name: sum(node.get(name, 0.0) for node in free.values()) - self._others[name] for name in need}
        return int(max(0, min(limit, _times(everywhere, need), sum(_times(node, need) for node in free.values()))))

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
                raise LauncherError(f"Ray did not take a new worker: {_line(error)}") from error
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
            raise LauncherError(f"The Ray cluster does not answer: {_line(error)}") from error
        return [(waiting[reference], waiting[reference].hear(reference)) for reference in ready]

    def close(self) -> None:
        self._cluster.close()

    def _look(self) -> None:
        """What the nodes have, and what others use of it; the second while all of our workers are placed."""
        if time.monotonic() < self._next_look:
            return
        try:
            self._nodes = self._cluster.nodes()
            self._links = [link for link in self._links if not link.ended]
            if all(link.node for link in self._links):
                self._others = self._used_by_others()
        except RayError as error:
            raise LauncherError(f"The Ray cluster does not answer: {_line(error)}") from error
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def _used_by_others(self) -> dict[str, float]:
        free = self._cluster.free()
        others = {}
        for name in ("CPU", "GPU"):
            total = sum(node.get(name, 0.0) for node in self._nodes.values())
            ours = sum(_need(link.resources).get(name, 0.0) for link in self._links)
            others[name] = max(0.0, total - free.get(name, 0.0) - ours)
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
            return Gone("node_lost", f"{who} could not start: {_line(error)}", log)
        if "unexpected" in text and "connection error" in text:
            return Gone("node_lost", f"{who} ended unexpectedly: it was killed, crashed, or left by os._exit.", log)
        return Gone("node_lost", f"{who} is gone: {_line(error)}", log)

    def _output(self) -> str:
        return ray_session.last_output(self._logs, self._pid, LOG_BYTES) if self._logs and self._pid else ""


class TrialWorker:
    """What runs in Ray's process: a worker, its gauges, and an eye on the process' parent."""

    def __init__(self, name: str) -> None:
        self._worker = Worker(name)
        self._node = ray.get_runtime_context().get_node_id()
        self._gauges = Gauges()
        threading.Thread(target=_end_with, args=(os.getppid(),), name="parent-watch", daemon=True).start()

    def __repr__(self) -> str:
        return self._worker.name

    def do(self, request: str) -> str:
        """Answer one request of workers/launchers/desk.py."""
        reply = answer(self._worker, json.loads(request))
        if self._worker.assignment is not None:
            self._gauges.show(self._worker.assignment, reply.get("value"))
        return json.dumps({**reply, "node": self._node})


class Gauges:
    """The epoch and the objective of the trials at work, as metrics of Ray.

    They are set once a second at most. Ray forgets a gauge some seconds after it was set last, so those of
    finished trials do not pile up.
    """

    def __init__(self) -> None:
        tags = ("study", "trial")
        self._epoch = Gauge("tuner_trial_epoch", "Epochs this trial has finished.", tags)
        self._objective = Gauge("tuner_trial_objective", "The last value of this trial's objective.", tags)
        self._assignment: Assignment | None = None
        self._last: dict[int, dict[str, Any]] = {}  # the last report of each trial
        self._next = 0.0

    def show(self, assignment: Assignment, result: dict[str, Any] | None) -> None:
        if assignment is not self._assignment:
            self._assignment, self._last = assignment, {}
        self._last.update({report["trial"]: report for report in (result or {}).get("reports", ())})
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _GAUGE_SECONDS
        for trial, report in self._last.items():
            tags = {"study": assignment.training.study, "trial": str(trial)}
            self._epoch.set(report["epoch"], tags)
            value = report["metrics"].get(assignment.training.objective, math.nan)
            if math.isfinite(value):
                self._objective.set(value, tags)


def _end_with(parent: int) -> None:
    """End this process when its parent, Ray's raylet, is gone: Ray lets it train on."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _need(resources: Resources) -> dict[str, float]:
    need = {"CPU": resources.cpus, "GPU": resources.gpus}
    return {name: amount for name, amount in need.items() if amount > 0}


def _times(node: dict[str, float], need: dict[str, float]) -> float:
    """How many times `need` fits into what a node has; infinite where nothing is needed."""
    return min((math.floor(node.get(name, 0.0) / amount + 1e-6) for name, amount in need.items()), default=math.inf)


def _words(amounts: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}s" for name, amount in amounts.items())


def _line(error: Exception) -> str:
    """The last line of what Ray says: its first ones repeat what is known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


def _connection_sentence(target: str, error: Exception) -> str:
    text = str(error)
    place = "A local Ray cluster could not be started" if target == "local" else f"Ray at {target} refused"
    if "ersion mismatch" in text:
        found = re.findall(r"(?:Ray|Python): ?(\S+)", text)
        return f"{place}: it runs other versions of Ray or Python than this process ({', '.join(found)})."
    if "oken" in text or "nauthenticated" in text or "UNAUTHENTICATED" in text:
        return f"{place} the token of this process. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the cluster."
    return f"{place}: {_line(error)}"
