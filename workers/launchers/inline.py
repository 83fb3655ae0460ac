"""Trials in this process, one at a time: for debugging, notebooks and short tests. Breakpoints and prints work.

Nothing protects this process from what a trial does to it: a crash ends it, and code that never comes back
cannot be ended. `processes` and `ray` have no such limits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from workers.contract import Assignment, CheckReport, LauncherError, Lost, Resources, SliceResult, Training
from workers.failures import log_of, sentence_of
from workers.launchers import machine
from workers.vitals import rss_bytes
from workers.worker import Worker, WorkerStuck

log = logging.getLogger("workers.launchers.inline")


class InlineLauncher:
    """One worker inside this process. `poll` trains the slice that was asked for. See `workers.contract.Launcher`.

    An assignment may ask for any number of the machine's CPUs: it is alone here.
    """

    def __init__(self) -> None:
        self._worker = Worker("inline")
        self._assignment: Assignment | None = None
        self._remaining: set[int] = set()
        self._slice: tuple[int, float, tuple[int, ...], bool, int] | None = None
        self._trials = 0

    def fits(self, resources: Resources) -> str | None:
        return machine.misfit(resources)

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        return machine.nodes()

    def room(self, resources: Resources, beside: Sequence[Resources] = ()) -> int:
        return int(self._assignment is None and not beside and self.fits(resources) is None)

    def start(self, assignment: Assignment) -> str:
        if self._assignment is not None:
            raise LauncherError(
                f"{assignment.label} cannot start: this process trains {self._assignment.label}. "
                "Start an assignment only where room(...) is above 0."
            )
        self._assignment = assignment
        self._remaining = {member.trial for member in assignment.members}
        try:
            self._worker.start(assignment)
        except WorkerStuck as stuck:
            self._replace(stuck)
            self._worker.start(assignment)
        return self._worker.name

    def advance(
        self,
        assignment: str,
        until: int,
        seconds: float,
        drop: Collection[int] = (),
        save: bool = False,
        acknowledged: int = 0,
    ) -> None:
        if self._assignment is None or self._assignment.id != assignment:
            raise LauncherError(f"No worker holds the assignment {assignment!r}. Start it before advancing it.")
        if self._slice is not None:
            raise LauncherError(f"A slice of {assignment!r} is outstanding. Poll its answer before asking for more.")
        self._remaining -= set(drop)
        self._slice = (until, seconds, tuple(drop), save, acknowledged)

    def stop(self, assignment: str) -> None:
        if self._assignment is None or self._assignment.id != assignment:
            return
        self._over()
        try:
            self._worker.stop()
        except WorkerStuck as stuck:
            self._replace(stuck)

    def poll(self, seconds: float) -> list[SliceResult | Lost]:  # noqa: ARG002 - a slice has its own
        if self._assignment is None or self._slice is None:
            return []
        asked, self._slice = self._slice, None
        try:
            result = self._worker.advance(*asked)
        except Exception as error:  # the worker itself failed: the coordinator has to hear of it
            lost = Lost(self._assignment.id, self._worker.name, "node_lost", sentence_of(error), log_of(error))
            self._over()
            self._worker = Worker(self._worker.name)
            return [lost]
        self._remaining -= {ended.trial for ended in result.ended}
        if not self._remaining:
            self._over()
        return [result]

    def held(self) -> list[Assignment]:
        return []

    def adopt(self, assignment: Assignment) -> None:
        raise LauncherError(f"{assignment.label} cannot be taken over: this process' worker ends with it.")

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:
        return self._worker.check(training, resources or Resources())

    def describe(self) -> list[dict[str, Any]]:
        return [
            {
                "name": self._worker.name,
                "pid": os.getpid(),
                "rss_bytes": rss_bytes(),
                "assignment": self._assignment.id if self._assignment else None,
                "trials": self._trials,
            }
        ]

    def close(self) -> None:
        if self._assignment is not None:
            self.stop(self._assignment.id)

    def _over(self) -> None:
        self._trials += len(self._assignment.members) if self._assignment else 0
        self._assignment, self._slice = None, None

    def _replace(self, stuck: WorkerStuck) -> None:
        log.warning("%s It runs on in a thread of this process; the launchers 'processes' and 'ray' can end it.", stuck)
        self._worker = Worker(self._worker.name)
