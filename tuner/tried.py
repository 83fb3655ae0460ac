"""A trial as its coordinator remembers it between two steps, and an attempt at it that runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from db.tables import Trial
from tuner.outcomes import Failure


@dataclass
class Attempt:
    """A running attempt at a trial, as its coordinator sees it."""

    trial_id: int
    number: int
    token: int
    epoch: int = 0  # epochs that its worker has reported, or begun with
    taken: int = field(init=False)  # those of them that were taken in: what may be judged

    def __post_init__(self) -> None:
        self.taken = self.epoch


@dataclass
class Point:
    """A trial as the sampler and the budgets see it."""

    number: int
    params: dict[str, Any]
    notes: dict[str, Any]
    state: str = "queued"
    value: float | None = None
    curve: dict[int, float] = field(default_factory=dict)  # objective by epoch
    seconds: float = 0.0  # spent on reported epochs
    failures: list[Failure] = field(default_factory=list)  # why attempts at it ended early, oldest first
    ready_at: float = 0.0  # of the monotonic clock: not started again before


def point(trial: Trial, curve: dict[int, float], failures: list[Failure], delay: float) -> Point:
    """What is remembered of a trial's row. `delay`: seconds for which it still waits before it is tried again."""
    ready_at = time.monotonic() + delay if delay else 0.0
    row = (trial.number, trial.params, trial.notes, trial.state, trial.value)
    return Point(*row, curve=dict(curve), failures=failures, ready_at=ready_at)
