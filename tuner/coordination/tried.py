"""A trial as its coordinator remembers it between two steps, and an attempt at it that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tuner.coordination.outcomes import Failure


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


@dataclass(slots=True)
class Point:
    """A trial as the sampler and the budgets see it. A study may have a hundred thousand of them."""

    number: int
    params: dict[str, Any]
    notes: dict[str, Any]
    state: str = "queued"
    value: float | None = None
    cause: str | None = None  # why it failed
    curve: dict[int, float] = field(default_factory=dict)  # objective by epoch
    seconds: float = 0.0  # spent on reported epochs
    failures: list[Failure] = field(default_factory=list)  # of one that has not ended: why attempts at it did, in order
    ready_at: float = 0.0  # of the monotonic clock: not started again before
