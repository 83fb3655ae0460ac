"""Whether a worker that answers still works: by its batches, and by its processor time where a batch takes long."""

from __future__ import annotations

from dataclasses import dataclass

from workers.contract import SliceResult

_EXCUSED = 20.0  # seconds of silence that one second of processor time pays for: a process at rest uses a hundredth


@dataclass
class Pulse:
    """How long a worker has been asked to train without a sign of it, in seconds of the monotonic clock.

    Tracing a large model is silent and busy; a lock that is never released is silent and idle.
    """

    silent: float = 0.0  # no batch, no report
    idle: float = 0.0  # nor processor time worth speaking of
    begun: bool = False  # there was a batch or a report: what it waits for is not its data's first arrival
    _progress: int = -1
    _effort: float | None = None

    def feel(self, seconds: float, answer: SliceResult, effort: float | None) -> None:
        """Take in an answer that the worker trained `seconds` for. `effort`: see `workers.vitals.effort`."""
        self.begun |= bool(answer.reports) or answer.progress > 0
        said = answer.reports or answer.saved or answer.ended or answer.trained or answer.held
        if said or answer.progress != self._progress:
            self.silent = self.idle = 0.0
        elif effort is None or self._effort is None:
            self.silent, self.idle = self.silent + seconds, 0.0
        else:
            self.silent += seconds
            self.idle = max(0.0, self.idle + seconds - _EXCUSED * max(0.0, effort - self._effort))
        self._progress, self._effort = answer.progress, effort
