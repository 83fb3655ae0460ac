"""When a study has had enough: limits on trials, epochs, time, quality and failures, each with its sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tuner.pruners.rungs import Direction

if TYPE_CHECKING:
    from tuner.definitions.definition import StudyDefinition


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a study has used so far."""

    finished: int = 0  # trials that ended in any way
    started: int = 0  # trials that were proposed, the finished ones included
    failures: int = 0  # trials that failed for good, but for those whose code left them out
    epochs: int = 0  # reported by all trials together
    seconds: float = 0.0  # during which the study was worked on
    best: float | None = None  # the best finite objective of a complete trial; None: there is none
    trials_since_best: int = 0  # finished since the best one was found


class ActiveTime:
    """The seconds in which a study had a coordinator and was not paused. `before`: those under earlier coordinators."""

    def __init__(self, before: float, *, paused: bool) -> None:
        self._before = before
        self._since = None if paused else time.monotonic()

    @property
    def seconds(self) -> float:
        """Up to now."""
        return self._before if self._since is None else self._before + time.monotonic() - self._since

    def pause(self, paused: bool) -> None:
        """Count no more, or go on; said again, it changes nothing."""
        if paused != (self._since is None):
            self._before = self.seconds
            self._since = None if paused else time.monotonic()


class UsedUp(NamedTuple):
    """A limit that is reached."""

    field: str  # of the definition
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of a study; None is no limit."""

    trials: int  # proposed in all, failed ones included
    total_epochs: int | None = None  # of all trials together
    max_seconds: float | None = None  # of wall time, counted while the study has a coordinator
    target: float | None = None  # a best objective this good is good enough
    no_improvement: int | None = None  # finished trials in a row without a better best
    max_failures: int | None = None  # this many may fail; one more, and the study fails
    direction: Direction = "minimize"

    @classmethod
    def of(cls, definition: StudyDefinition) -> Budget:
        """The limits that a study's definition names."""
        return cls(
            trials=definition.trials,
            total_epochs=definition.total_epochs,
            max_seconds=definition.max_seconds,
            target=definition.target,
            no_improvement=definition.no_improvement,
            max_failures=definition.max_failures,
            direction=definition.direction,
        )

    def exhausted(self, progress: Progress) -> str | None:
        """Why no new trial may start, as a sentence; None while one may. Running trials may finish."""
        return next((limit.sentence for limit in self._exhausted(progress)), None)

    def failed(self, progress: Progress) -> str | None:
        """Why the study fails, as a sentence; None while it does not."""
        if self.max_failures is None or progress.failures <= self.max_failures:
            return None
        return (
            f"{progress.failures} of {progress.finished} finished trials failed, and {self.max_failures} may; "
            "`tuner trial list` shows each one's cause."
        )

    def used_up(self, progress: Progress) -> list[UsedUp]:
        """Every limit that keeps new trials from starting."""
        failed = self.failed(progress)
        return [*([UsedUp("max_failures", failed)] if failed else []), *self._exhausted(progress)]

    def _exhausted(self, progress: Progress) -> Iterator[UsedUp]:
        """What no new trial may start for, but failures; the first is the one that a study tells as its end."""
        best, since_best = progress.best, progress.trials_since_best
        if self._reached(best):
            told = f"The best objective is {best:.6g}, which reaches the target of {self.target:.6g}."
            yield UsedUp("target", told)
        if progress.started >= self.trials:
            yield UsedUp("trials", f"The study's limit of {self.trials} trials is reached.")
        if self.total_epochs is not None and progress.epochs >= self.total_epochs:
            told = f"{progress.epochs} epochs were trained, and {self.total_epochs} are the limit of the study."
            yield UsedUp("total_epochs", told)
        if self.max_seconds is not None and progress.seconds >= self.max_seconds:
            told = f"{progress.seconds:.0f} seconds have passed, and {self.max_seconds:g} are the study's limit."
            yield UsedUp("max_seconds", told)
        if self.no_improvement is not None and best is not None and since_best >= self.no_improvement:
            yield UsedUp("no_improvement", f"{since_best} trials in a row did no better than {best:.6g}.")

    def _reached(self, best: float | None) -> bool:
        if self.target is None or best is None:
            return False
        return best <= self.target if self.direction == "minimize" else best >= self.target
