"""What runs in an actor's process."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from typing import Any

import ray
from ray.util.metrics import Gauge

from workers.collector import settle
from workers.contract import Assignment
from workers.launchers.desk import answer
from workers.version import version
from workers.worker import Worker

_GAUGE_SECONDS = 1.0  # a trial's gauges are refreshed this often
_LOOK_SECONDS = 1.0  # the parent and the lease are looked at this often


class TrialWorker:
    """What runs in Ray's process: a worker, its gauges, and an eye on the process' parent and on its launcher.

    Args:
        name: of the worker.
        master: who may ask: "HOST:PID:…" of a launcher. Who sends "repeat" is the master from then on.
        lease: seconds without a word of its master after which the worker ends itself; None: Ray ends it with him.
    """

    def __init__(self, name: str, master: str, lease: float | None = None) -> None:
        self._worker = Worker(name)
        self._master, self._lease = master, lease
        self._spoken = time.monotonic()  # when its master's last question was answered; infinite during one
        self._node = ray.get_runtime_context().get_node_id()
        self._gauges = Gauges()
        threading.Thread(target=self._watch, args=(os.getppid(),), name="watch", daemon=True).start()
        settle()

    def __repr__(self) -> str:
        return self._worker.name

    def do(self, request: str) -> str:
        """Answer one request of workers/launchers/desk.py."""
        asked = json.loads(request)
        if asked["method"] == "repeat":
            self._master = asked["master"]
        known = {"node": self._node, "master": self._master, "version": version()}
        if asked["master"] != self._master:
            silent = time.monotonic() - self._spoken
            reply = answer(self._worker, {**asked, "method": "holds"})
            return json.dumps({**reply, **known, "silent": silent, "taken": asked["method"] != "holds"})
        self._spoken = math.inf
        reply = answer(self._worker, asked)
        self._spoken = time.monotonic()
        if self._worker.assignment is not None:
            self._gauges.show(self._worker.assignment, reply.get("value"))
        return json.dumps({**reply, **known})

    def _watch(self, parent: int) -> None:
        """End this process when its parent, Ray's raylet, is gone, for Ray lets it train on, or when its lease ends."""
        while os.getppid() == parent:
            if self._lease is not None and time.monotonic() - self._spoken > self._lease:
                break
            time.sleep(_LOOK_SECONDS)
        os._exit(1)


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
