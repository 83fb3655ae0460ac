"""What the end of an attempt means for its trial: complete, failed, or one more attempt. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tuner.definitions.definition import StudyDefinition
from workers.contract import Cause, Ended, Lost

RETRIES: Mapping[str, int] = {"node_lost": 3, "storage": 3, "worker_ended": 1, "hang": 1, "oom": 1}
"""How many losses of one kind a trial survives.

A node that is gone and a storage that fails are the infrastructure's faults: they are tried again with growing pauses.
A worker whose process ended under the trial, one that hung and one that ran out of memory may be the trial's own doing:
the same twice with the same parameters fails it, so that it cannot take the workers down one after the other, if it was
alone the second time: of a loss in company nobody knows whose it was, so the company is divided.

A kind that is not listed is final at once: user code that raises will raise again, and a loss that diverged will
diverge again. Attempts that a person, another study or a vanished coordinator ended ("cancelled", "deadline") say
nothing about the trial and are never counted.
"""

INFRASTRUCTURE = ("node_lost", "storage")
PAUSE_SECONDS = 2.0  # before the first retry after a fault of the infrastructure; each later one waits 4 times longer


class Failure(NamedTuple):
    """Why an attempt ended early."""

    cause: str
    process_end: str | None = None  # how its worker's process ended, where it did

    @property
    def kind(self) -> str:
        """What its retries are counted by: the cause, but a process that ended is not a node that was lost."""
        return "worker_ended" if self.cause == "node_lost" and self.process_end else self.cause


@dataclass(frozen=True)
class Outcome:
    """Where a trial goes when an attempt at it is over."""

    state: Literal["complete", "failed", "queued", "cancelled"]
    value: float | None = None  # the objective at `best_epoch`
    best_epoch: int | None = None
    weights: int | None = None  # of its model, where the worker knows them
    failure: Failure | None = None
    message: str = ""
    log: str = ""
    after: float = 0.0  # seconds before a queued trial is started again

    @property
    def cause(self) -> str | None:
        return self.failure.cause if self.failure else None


def best_point(curve: Mapping[int, float | None], direction: str) -> tuple[int, float] | None:
    """Epoch and value of the best finite point of a curve; the earlier epoch where two are equal; None without one."""
    finite = [(epoch, value) for epoch, value in curve.items() if value is not None and math.isfinite(value)]
    sign = -1.0 if direction == "maximize" else 1.0
    return min(finite, key=lambda point: (sign * point[1], point[0]), default=None)


def of_ended(
    ended: Ended,
    curve: Mapping[int, float | None],
    definition: StudyDefinition,
    earlier: Iterable[Failure],
    alone: bool,
) -> Outcome:
    """The outcome of an attempt that its worker ended.

    Args:
        ended: what the worker said.
        curve: the trial's objective by epoch, reports of this answer included.
        definition: the study.
        earlier: why earlier attempts at the trial ended.
        alone: whether the worker had no other trial.
    """
    if ended.cause is not None:
        return _of_failure(Failure(ended.cause), ended.message, ended.log, earlier, alone)
    point = best_point(curve, definition.direction)
    if point is None:
        message = f"The trial ended without one finite value of its objective {definition.objective!r}."
        cause: Cause = "non_finite" if curve else "user_error"
        return Outcome("failed", failure=Failure(cause), message=message, log=ended.log)
    epoch = ended.best_epoch
    if epoch is not None and epoch in curve:
        value = curve[epoch]
        if value is not None and math.isfinite(value):
            point = (epoch, value)
    epoch, value = point
    return Outcome("complete", value, epoch, ended.weights, message=ended.message, log=ended.log)


def of_lost(lost: Lost, earlier: Iterable[Failure], alone: bool) -> Outcome:
    """The outcome of an attempt whose worker is gone."""
    return _of_failure(Failure(lost.cause, lost.process_end or None), lost.message, lost.log, earlier, alone)


def interrupted(state: Literal["queued", "cancelled"], message: str) -> Outcome:
    """The outcome of an attempt that was ended although nothing is wrong with it: it uses no retry."""
    return Outcome(state, failure=Failure("cancelled"), message=message)


def _of_failure(failure: Failure, message: str, log: str, earlier: Iterable[Failure], alone: bool) -> Outcome:
    """Queued again while the budget of its kind lasts, else failed. Company is blamed for what may be a trial's own."""
    used = sum(before.kind == failure.kind for before in earlier)
    blamed = alone or failure.kind in INFRASTRUCTURE
    if failure.kind not in RETRIES or (blamed and used >= RETRIES[failure.kind]):
        times = f" Attempt {used + 1} that ended so: the trial is not tried again." if used else ""
        return Outcome("failed", failure=failure, message=f"{message}{times}", log=log)
    after = PAUSE_SECONDS * 4**used if failure.kind in INFRASTRUCTURE else 0.0
    return Outcome("queued", failure=failure, message=message, log=log, after=after)


def losses(earlier: Iterable[Failure]) -> int:
    """How many of a trial's earlier attempts took their worker down with them, by its own fault or by another's."""
    return sum(failure.kind in RETRIES and failure.kind not in INFRASTRUCTURE for failure in earlier)


def company(together: int, lost: int) -> int:
    """How many trials that were lost as often may be trained together: a quarter after each loss.

    So a bad trial takes others with it a few times only, and nearly all of them go on together.
    """
    return max(1, together >> 2 * lost)
