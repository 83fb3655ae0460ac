"""A launcher of several workers inside this process: sharing can be tested without starting one process each.

A worker takes as many of its cores as its assignment asks CPUs for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from workers.contract import (
    Assignment,
    Cause,
    CheckReport,
    Launcher,
    LauncherError,
    Lost,
    Resources,
    SliceResult,
    Training,
)
from workers.launchers.inline import InlineLauncher


class Crowd:
    """So many inline launchers as one. Every trial trains in threads of its own, so they overlap.

    `lose` makes a worker vanish as a lost node would.
    """

    def __init__(self, workers: int = 4) -> None:
        self._cores = workers
        self._free: list[Launcher] = [InlineLauncher() for _ in range(workers)]
        self._held: dict[str, Launcher] = {}
        self._lost: list[Lost] = []
        self.assignments: dict[str, Assignment] = {}

    def fits(self, resources: Resources) -> str | None:
        return f"A trial asks for {resources.gpus:g} GPUs, and there are none." if resources.gpus else None

    def nodes(self) -> dict[str, dict[str, float]]:
        return {}

    def room(self, resources: Resources, beside: Sequence[Resources] = ()) -> int:
        held = [self.assignments[name].resources for name in self._held]
        free = self._cores - sum(shape.cpus for shape in (*held, *beside))
        return 0 if self.fits(resources) else max(0, int(free / resources.cpus))

    def start(self, assignment: Assignment) -> str:
        if self.room(assignment.resources) < 1:
            raise LauncherError(f"{assignment.label} needs {assignment.resources.cpus:g} cores, and none is free.")
        self._held[assignment.id] = self._free.pop()
        self.assignments[assignment.id] = assignment
        return self._held[assignment.id].start(assignment)

    def advance(
        self,
        assignment: str,
        until: int,
        seconds: float,
        drop: Collection[int] = (),
        save: bool = False,
        acknowledged: int = 0,
    ) -> None:
        if assignment in self._held:
            self._held[assignment].advance(assignment, until, min(seconds, 0.02), drop, save, acknowledged)

    def stop(self, assignment: str) -> None:
        if assignment in self._held:
            self._held[assignment].stop(assignment)
            self._free.append(self._held.pop(assignment))

    def poll(self, seconds: float) -> list[SliceResult | Lost]:
        said: list[SliceResult | Lost] = [*self._lost]
        self._lost.clear()
        for name, worker in list(self._held.items()):
            said += worker.poll(seconds)
            if worker.room(Resources()):
                self._free.append(self._held.pop(name))
        return said

    def lose(self, assignment: str, cause: Cause, process_end: str = "") -> None:
        """The worker that holds an assignment is gone; another takes its place."""
        self.stop(assignment)
        self._lost.append(Lost(assignment, "crowd", cause, "Its node is gone.", process_end=process_end))

    def held(self) -> list[Assignment]:
        return []

    def adopt(self, assignment: Assignment) -> None:
        raise LauncherError(f"Nobody else had {assignment.label}.")

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:
        return self._free[0].check(training, resources)

    def describe(self) -> list[dict[str, Any]]:
        return [worker.describe()[0] for worker in (*self._free, *self._held.values())]

    def close(self) -> None:
        for name in list(self._held):
            self.stop(name)
