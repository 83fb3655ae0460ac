"""How a study stands: which of its trials is the best, and what its limits are compared with.

Its coordinator keeps it from answer to answer. Where there is none the same is read from the rows.
"""

from __future__ import annotations

from collections import Counter

from db import studies, trials
from db.engine import Session
from db.tables import Study
from tuner.coordination.budgets import Progress
from tuner.coordination.outcomes import best_point
from tuner.coordination.repeats import OVER, Configurations
from tuner.coordination.tried import Point
from tuner.definitions.definition import StudyDefinition
from tuner.samplers.points import Observation
from workers.contract import Cause

INFEASIBLE: Cause = "infeasible"  # no failure: the user's code says that it is as intended


class Standing:
    """The trials of a study that have a row, and what they come to."""

    def __init__(self, definition: StudyDefinition) -> None:
        self.points: dict[int, Point] = {}
        self.configurations = Configurations(self.points, definition.repeats)
        self.states: Counter[str] = Counter()
        self.infeasible = 0  # failed trials that the user's code left out
        self.epochs = 0
        self.best: tuple[int, float] | None = None  # number of the best trial, and the objective (a mean with repeats)
        self.since_best = 0  # finished trials since the best one
        self._direction = definition.direction

    def add(self, point: Point) -> None:
        """Take a trial that has a row into account, but for how it ended: see `digest`."""
        self.points[point.number] = point
        self.states[point.state] += 1
        self.infeasible += point.cause == INFEASIBLE
        self.epochs += len(point.curve)

    def move(self, point: Point, state: str, value: float | None, cause: str | None) -> None:
        """Record that a trial's row changed its state; what that means: see `digest`."""
        self.states[point.state] -= 1
        point.state, point.value, point.cause = state, value, cause
        self.states[state] += 1
        self.infeasible += cause == INFEASIBLE

    def digest(self, point: Point) -> Observation:
        """Count a trial that is over; said in the order in which they ended. Returns how its configuration stands."""
        if point.state in ("complete", "pruned", "failed"):
            self.since_best += 1
        known = self.configurations.known(point.number)
        if known.state == "complete" and known.value is not None:
            before = self.best[1] if self.best else None
            better = best_point({0: known.value, 1: before}, self._direction) == (0, known.value)
            if better and known.value != before:
                same = self.configurations.repeats_of(point.number)
                trial = best_point({repeat.number: repeat.value for repeat in same}, self._direction)
                self.best, self.since_best = (trial[0] if trial else point.number, known.value), 0
        return known

    def progress(self, seconds: float, proposed: int = 0) -> Progress:
        """What the limits are compared with.

        Args:
            seconds: for how long the study was worked on.
            proposed: trials that have no row yet.
        """
        return Progress(
            finished=sum(self.states[state] for state in OVER),
            started=len(self.points) + proposed,
            failures=self.states["failed"] - self.infeasible,
            epochs=self.epochs,
            seconds=seconds,
            best=self.best[1] if self.best else None,
            trials_since_best=self.since_best,
        )


def read_progress(s: Session, row: Study, definition: StudyDefinition) -> Progress:
    """How far a study is that no coordinator has. No report is read: a trial's row knows how many there are."""
    standing = Standing(definition)
    for known in trials.points(s, row.id):
        standing.add(Point(*known))
        standing.digest(standing.points[known[0]])
    standing.epochs = studies.totals(s, row.id).epochs
    return standing.progress(row.active_seconds)
