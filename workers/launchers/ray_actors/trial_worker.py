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

from workers.contract import Assignment
from workers.launchers.desk import answer, settle
from workers.worker import Worker

_GAUGE_SECONDS = 1.0  # a trial's gauges are refreshed this often
_LOOK_SECONDS = 1.0  # the parent is looked for this often


class TrialWorker:
    """What runs in Ray's process: a worker, its gauges, and an eye on the process' parent."""

    def __init__(self, name: str) -> None:
        self._worker = Worker(name)
        self._node = ray.get_runtime_context().get_node_id()
        self._gauges = Gauges()
        threading.Thread(target=_end_with, args=(os.getppid(),), name="parent-watch", daemon=True).start()
        settle()

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
