"""What the end of an attempt means for its trial: complete, failed, or one more attempt. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tuner.definition import StudyDefinition
from workers.contract import Cause, Ended, Lost

RETRIES: Mapping[str, int] = {"node_lost": 1, "hang": 1, "oom": 1, "storage": 1}
"""How many losses of one cause a trial survives. The same cause twice with the same parameters is the trial's own.

A cause that is not listed is final at once: user code that raises will raise again, and a loss that diverged will
diverge again. Attempts that a vanished or interrupted coordinator left behind ("deadline", "cancelled") say nothing
about the trial and are never counted.
"""


@dataclass(frozen=True)
class Outcome:
    """Where a trial goes when an attempt at it is over."""

    state: Literal["complete", "failed", "queued"]
    value: float | None = None  # the objective at `best_epoch`
    best_epoch: int | None = None
    cause: Cause | None = None
    message: str = ""
    log: str = ""


def best_point(curve: Mapping[int, float | None], direction: str) -> tuple[int, float] | None:
    """Epoch and value of the best finite point of a curve; the earlier epoch where two are equal; None without one."""
    finite = [(epoch, value) for epoch, value in curve.items() if value is not None and math.isfinite(value)]
    sign = -1.0 if direction == "maximize" else 1.0
    return min(finite, key=lambda point: (sign * point[1], point[0]), default=None)


def of_ended(
    ended: Ended, curve: Mapping[int, float | None], definition: StudyDefinition, earlier: Iterable[str]
) -> Outcome:
    """The outcome of an attempt that its worker ended.

    Args:
        ended: what the worker said.
        curve: the trial's objective by epoch, reports of this answer included.
        definition: the study.
        earlier: causes of the trial's earlier attempts.
    """
    if ended.cause is not None:
        return of_failure(ended.cause, ended.message, ended.log, earlier)
    point = best_point(curve, definition.direction)
    if point is None:
        message = f"The trial ended without one finite value of its objective {definition.objective!r}."
        return Outcome("failed", cause="non_finite" if curve else "user_error", message=message, log=ended.log)
    epoch = ended.best_epoch
    if epoch is not None and epoch in curve:
        value = curve[epoch]
        if value is not None and math.isfinite(value):
            point = (epoch, value)
    return Outcome("complete", value=point[1], best_epoch=point[0], message=ended.message, log=ended.log)


def of_lost(lost: Lost, earlier: Iterable[str]) -> Outcome:
    """The outcome of an attempt whose worker is gone."""
    return of_failure(lost.cause, lost.message, lost.log, earlier)


def of_failure(cause: Cause, message: str, log: str, earlier: Iterable[str]) -> Outcome:
    """Queued again while the cause's retry budget lasts, else failed."""
    used = Counter(earlier)[cause]
    state: Literal["queued", "failed"] = "queued" if used < RETRIES.get(cause, 0) else "failed"
    return Outcome(state, cause=cause, message=message, log=log)
