"""One worker of a pool, and when it is replaced or given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract import Assignment, Lost, SliceResult
from workers.launchers.pulse import Pulse
from workers.launchers.transport import Gone, Link


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced or given up. All times in seconds of the monotonic clock."""

    trials: int = 1000  # a worker is replaced after so many: its imports are dear, and its memory grows slowly
    growth: float = 3.0  # or when it holds so many times the memory it held after its first trial,
    memory: int = 2 * 1024**3  # and more than this many bytes
    hang_seconds: float = 25.0  # an answer may be so late, and a worker train so long with neither batch nor processor
    load_seconds: float = 300.0  # or so long before its first one: the data may come from far, as in a dry run
    silent_seconds: float = 3600.0  # or without a batch although it computes: an epoch of a user's loop, an endless one
    start_seconds: float = 120.0  # added for a worker's first slice: placing it, importing TensorFlow
    check_seconds: float = 300.0  # a dry run may take so long


@dataclass(eq=False)
class Slot:
    """One live worker as the pool sees it."""

    link: Link
    assignment: Assignment | None = None
    begun: bool = False  # the worker has been told about the assignment
    remaining: set[int] = field(default_factory=set)  # trials of the assignment that are not over
    awaits: int | None = None  # the call whose answer is awaited
    asks: str = ""  # what was asked: "slice", "stop", "check"
    asked: float = 0.0  # when it was
    deadline: float = 0.0  # of the awaited answer
    pulse: Pulse = field(default_factory=Pulse)  # of the assignment
    heard: bool = False  # it has answered at least once
    outcome: dict[str, Any] | Gone | None = None  # of a dry run
    pid: int | None = None
    rss: int = 0
    first_rss: int = 0  # after its first assignment
    trials: int = 0

    @property
    def begins(self) -> bool:
        """Its first slice was asked for: it may be without a node yet."""
        return self.asks == "slice" and self.awaits is not None and not self.heard

    @property
    def idle(self) -> bool:
        return self.assignment is None and self.awaits is None

    def free(self, unread: Sequence[SliceResult | Lost]) -> bool:
        """Whether its worker may begin something else, or end. It would forget what it said, so that is read first."""
        return self.idle and all(item.worker != self.link.name for item in unread)

    def patience(self, limits: Limits) -> float:
        """Seconds by which an answer may be late."""
        return limits.hang_seconds + (0.0 if self.heard else limits.start_seconds)

    def overdue(self, limits: Limits) -> str:
        """The sentence that says of a worker that did not answer why it was ended."""
        late = f"{self.patience(limits):g} s after its answer was due"
        if self.asks == "check":
            return f"Worker {self.link.name} was not done after {limits.check_seconds:g} s: the study's code hangs."
        if self.heard:
            return f"Worker {self.link.name} was ended {late}: its code hangs, or its machine is overloaded."
        return f"Worker {self.link.name} was ended {late}: it found no machine with room, or the study's code hangs."

    def hang(self, limits: Limits) -> str | None:
        """The sentence why its code is taken to hang although it answers; None where it is not."""
        idle = self.pulse.idle > (limits.hang_seconds if self.pulse.begun else limits.load_seconds)
        if not idle and self.pulse.silent <= limits.silent_seconds:
            return None
        does = "waits for something that does not come" if idle else "computes and comes to no end"
        told = f"{self.pulse.silent:.0f} s without a batch or a report"
        return f"Worker {self.link.name} was ended after {told}: its code {does}."

    def describe(self) -> dict[str, Any]:
        """See `workers.contract.Launcher.describe`."""
        return {
            "name": self.link.name,
            "pid": self.pid,
            "rss_bytes": self.rss,
            "assignment": self.assignment.id if self.assignment else None,
            "trials": self.trials,
        }

    def worn(self, limits: Limits) -> bool:
        """Whether it is due for replacement, now that an assignment is over."""
        self.first_rss = self.first_rss or self.rss
        grown = self.rss > limits.memory and self.rss > limits.growth * self.first_rss
        return grown or self.trials >= limits.trials
