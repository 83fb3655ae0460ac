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
"""How many losses of one cause a trial survives. The same cause twice with the same parameters is the trial's own,
if it was alone the second time: of a loss in company nobody knows whose it was, so the company is divided.

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
    ended: Ended, curve: Mapping[int, float | None], definition: StudyDefinition, earlier: Iterable[str], alone: bool
) -> Outcome:
    """The outcome of an attempt that its worker ended.

    Args:
        ended: what the worker said.
        curve: the trial's objective by epoch, reports of this answer included.
        definition: the study.
        earlier: causes of the trial's earlier attempts.
        alone: whether the worker had no other trial.
    """
    if ended.cause is not None:
        return of_failure(ended.cause, ended.message, ended.log, earlier, alone)
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


def of_lost(lost: Lost, earlier: Iterable[str], alone: bool) -> Outcome:
    """The outcome of an attempt whose worker is gone."""
    return of_failure(lost.cause, lost.message, lost.log, earlier, alone)


def of_failure(cause: Cause, message: str, log: str, earlier: Iterable[str], alone: bool) -> Outcome:
    """Queued again while the cause's retry budget lasts, which only a trial that is alone uses up; else failed."""
    again = cause in RETRIES and (not alone or Counter(earlier)[cause] < RETRIES[cause])
    return Outcome("queued" if again else "failed", cause=cause, message=message, log=log)


def losses(earlier: Iterable[str]) -> int:
    """How many of a trial's earlier attempts ended by something that need not be its own."""
    return sum(cause in RETRIES for cause in earlier)


def company(together: int, lost: int) -> int:
    """How many trials that were lost as often may be trained together: a quarter after each loss.

    So a bad trial takes others with it a few times only, and after the loss of a node nearly all go on together.
    """
    return max(1, together >> 2 * lost)
