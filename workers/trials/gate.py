"""Runs trials in threads and lets them pass from epoch to epoch.

One mechanism for Keras `fit` and for user code that owns its loop: a training thread reports at the end of
an epoch and *arrives* at the gate, where it waits until the coordinator has opened the gate further, or
the trial is over. Between two epochs it says `batch()` now and then, so that a stop is felt within a batch.

An assignment has one gate and a lane per trial. The trials of an assignment take turns: one at a time trains
up to the epoch to which the gate is open, then the next one does.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from workers.contract import Cause, Ended, Member, Report, Saved, Trained


class TrialStopped(BaseException):
    """The trial is over: leave the training code. Not an `Exception`, so that user code does not swallow it."""


class TrialFinished(TrialStopped):
    """The trial has reached its own end (all epochs, or patience) inside code that would go on."""


@dataclass
class Events:
    """What happened on a gate since it was last asked, in order."""

    reports: list[Report] = field(default_factory=list)
    saved: list[Saved] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    held: bool = False  # after them, every trial was over, or waits after it was asked to save itself

    def without(self, trials: Collection[int]) -> Events:
        """The same events but for those of `trials`."""
        return Events(
            [item for item in self.reports if item.trial not in trials],
            [item for item in self.saved if item.trial not in trials],
            [item for item in self.ended if item.trial not in trials],
            [item for item in self.trained if item.trial not in trials],
            self.held,
        )


class Gate:
    """The coordinator's side: opened to an epoch, asked for what happened, closed for some trials or all."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._changed = threading.Condition()
        self._until = 0
        self._saving = False
        self._turn: Lane | None = None
        self._events = Events()
        self.lanes = tuple(Lane(self, member) for member in members)

    @property
    def progress(self) -> int:
        """Batches since the assignment began, over all its trials."""
        return sum(lane.batches for lane in self.lanes)

    @property
    def busy(self) -> bool:
        """Whether a trial is not over yet. A dropped trial is over, though its thread may still be leaving."""
        return any(not lane.over for lane in self.lanes)

    @property
    def held(self) -> bool:
        """Whether every trial is over, or waits after it was asked to save itself."""
        return self._saving and all(lane.over or lane.held for lane in self.lanes)

    def save(self) -> None:
        """Have every trial save itself at the end of its epoch, and wait there whatever the gate is open to.

        One that does not train now and has nothing to save waits at once.
        """
        with self._changed:
            if not self._saving:
                self._saving = True
                for lane in self.lanes:
                    lane.held = lane is not self._turn and not lane.unsaved

    def open(self, until: int) -> None:
        """Let every trial train until it has finished `until` epochs. A gate never closes by itself."""
        with self._changed:
            self._until = max(self._until, until)
            self._changed.notify_all()

    def drop(self, trials: Collection[int]) -> None:
        """End these trials: their threads are told at the next batch, and nothing more is heard of them."""
        with self._changed:
            for lane in self.lanes:
                if lane.member.trial in trials:
                    lane.over = lane.stopped = True
            self._events = self._events.without(trials)
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Whether, within `seconds`, every trial has reached the epoch the gate is open to, or is over."""
        with self._changed:
            return self._changed.wait_for(lambda: not any(map(self._moving, self.lanes)), seconds)

    def take(self) -> Events:
        """What happened since the last call, and whether all of it is saved: seen in one moment."""
        with self._changed:
            events, self._events = self._events, Events()
            events.held = self.held
            return events

    def _moving(self, lane: Lane) -> bool:
        return not (lane.over or lane.held) and (lane.epoch is None or lane.epoch < self._until)

    def _enter(self, lane: Lane, epoch: int | None) -> None:
        with self._changed:
            lane.epoch = epoch
            lane.held |= lane.saving
            if self._turn is lane and not lane.stopped and self._moving(lane):
                return
            self._release(lane)
            self._changed.wait_for(lambda: lane.stopped or (self._turn is None and self._moving(lane)))
            if lane.stopped:
                raise TrialStopped
            self._turn = lane

    def _release(self, lane: Lane) -> None:
        with self._changed:
            if self._turn is lane:
                self._turn = None
            self._changed.notify_all()

    def _say(self, lane: Lane, event: Trained | Report | Saved | Ended) -> None:
        with self._changed:
            if lane.stopped:
                return
            if isinstance(event, Trained):
                self._events.trained.append(event)
            elif isinstance(event, Report):
                lane.unsaved, lane.saving = True, self._saving
                self._events.reports.append(event)
            elif isinstance(event, Saved):
                lane.unsaved = False
                self._events.saved.append(event)
            else:
                lane.over = True
                self._events.ended.append(event)
                self._changed.notify_all()


class Lane:
    """One trial's side of the gate. Its methods are called by that trial's thread only."""

    def __init__(self, gate: Gate, member: Member) -> None:
        self._gate = gate
        self.member = member
        self.epoch: int | None = None  # epochs finished, as last said at the gate; None: not begun
        self.batches = 0
        self.weights: int | None = None  # how many its saved model has
        self.unsaved = False  # it has reported epochs since it was saved last
        self.saving = False  # the epoch that it reported last is to be saved, and no other one begun
        self.held = False  # that was done, where it can be; it waits
        self.over = False  # nothing more will be heard
        self.stopped = False  # over because the coordinator said so; the thread has to leave

    def begin(self) -> None:
        """Wait for this trial's turn. Building may start before the gate is opened for the first time."""
        self._gate._enter(self, None)

    def arrive(self, epoch: int) -> None:
        """Say that `epoch` epochs are finished; returns when the gate is open beyond it, else `TrialStopped`."""
        self._gate._enter(self, epoch)

    def batch(self, count: int = 1) -> None:
        """Count `count` batches as progress; raises `TrialStopped` when the trial is over."""
        self.batches += count
        if self.stopped:
            raise TrialStopped

    def trained(self, how: str) -> None:
        """Pass on how the trial is trained, in words."""
        self._gate._say(self, Trained(self.member.trial, self.member.token, how))

    def report(self, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Pass on the metrics of the `epoch`-th finished epoch, which took `seconds`."""
        self._gate._say(self, Report(self.member.trial, self.member.token, epoch, metrics, seconds))

    def saved(self, saved: Saved) -> None:
        """Pass on that bytes are complete in the artifact store."""
        self._gate._say(self, saved)

    def end(self, cause: Cause | None = None, message: str = "", log: str = "", best_epoch: int | None = None) -> None:
        """Say that the trial is over."""
        member = self.member
        self._gate._say(self, Ended(member.trial, member.token, cause, message, log, best_epoch, self.weights))

    def leave(self) -> None:
        """Let the next trial of the assignment train. The last thing a trial's thread does."""
        self._gate._release(self)
