"""A worker: a plain object that trains assignments in slices. It knows no transport; launchers call it.

One assignment at a time, in threads of its own; between two slices the training goes on up to the epoch that was
asked for. A thread that never comes back to the gate cannot be killed from inside its process: `WorkerStuck`
tells the launcher to replace the worker.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Protocol

from workers.contract import Assignment, CheckReport, Resources, SliceResult, Training
from workers.failures import CannotStack, cause_of, log_of, sentence_of
from workers.trials.gate import Events, Gate, Lane, TrialStopped
from workers.vitals import rss_bytes

STOP_SECONDS = 5.0
LATE_SECONDS = 5.0  # a slice of a cohort, which ends with a call of its program, is waited for so much longer


class WorkerStuck(RuntimeError):
    """Code of the last assignment is still running and cannot be ended; only the end of the process ends it."""


class Trainer(Protocol):
    """Trains the members of one assignment. `Turns` is the general one."""

    @property
    def progress(self) -> int:
        """Batches since the assignment began."""
        ...

    def start(self) -> None:
        """Begin; returns at once."""
        ...

    def advance(self, until: int, seconds: float, drop: Collection[int], save: bool = False) -> Events:
        """End the trials in `drop`, train the others up to epoch `until`, wait for that at most `seconds`.

        `save`: each is saved at the end of its epoch and then waits; the events are `held` when all do.
        """
        ...

    def stop(self, seconds: float) -> bool:
        """End everything; whether nothing of it is left running after at most `seconds`."""
        ...


class Turns:
    """Trains any assignment: a thread per member, one of them training at a time, up to the open epoch.

    Members therefore share a process but gain no speed from being together. `reasons` says by trial why it is this
    one, where another trainer was tried first.
    """

    def __init__(self, assignment: Assignment, reasons: Mapping[int, str] | None = None) -> None:
        self._assignment, self._reasons = assignment, reasons or {}
        self._gate = Gate(assignment.members)
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"trial-{lane.member.trial}", daemon=True)
            for lane in self._gate.lanes
        ]

    @property
    def progress(self) -> int:
        return self._gate.progress

    def start(self) -> None:
        for lane in self._gate.lanes:
            reason = self._reasons.get(lane.member.trial, "its code owns its training loop")
            lane.trained(f"alone: {reason.rstrip('.')}")
        for thread in self._threads:
            thread.start()

    def advance(self, until: int, seconds: float, drop: Collection[int], save: bool = False) -> Events:
        self._gate.drop(drop)
        if save:
            self._gate.save()
        self._gate.open(until)
        self._gate.wait(seconds)
        return self._gate.take()

    def stop(self, seconds: float) -> bool:
        self._gate.drop([lane.member.trial for lane in self._gate.lanes])
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, lane: Lane) -> None:
        try:
            lane.begin()
            lane.end(best_epoch=self._train(lane))
        except TrialStopped:
            pass
        except BaseException as error:  # user code may raise anything, and the worker lives on
            lane.end(cause_of(error), sentence_of(error), log_of(error))
        finally:
            if not self._gate.busy:
                _forget()
            lane.leave()

    def _train(self, lane: Lane) -> int | None:
        if self._assignment.training.loop:
            from workers.trials.loop import train_loop

            return train_loop(lane, self._assignment.training)
        from workers.devices import prepare

        prepare(self._assignment.resources)
        from workers.trials.training import train_model

        return train_model(lane, self._assignment.training)


class Together:
    """Trains the trials that can be stacked as one program, and then the others one after the other.

    TensorFlow's import, the data's loading, the building of the models and the training happen in a thread, so that
    a slice can be answered although a trace takes long. Nothing is trained that was not asked for.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._trainers: list[Trainer] = []
        self._dropped: set[int] = set()  # the trainers were not told yet
        self._chosen = threading.Event()
        self._asked = SimpleQueue[tuple[int, float, set[int], bool] | None]()
        self._answers = SimpleQueue[Events | BaseException]()
        self._busy = False  # a slice was asked for, and its answer is not taken yet
        self._thread = threading.Thread(target=self._work, name="cohort", daemon=True)

    @property
    def progress(self) -> int:
        return sum(trainer.progress for trainer in self._trainers)

    def start(self) -> None:
        self._thread.start()

    def advance(self, until: int, seconds: float, drop: Collection[int], save: bool = False) -> Events:
        end = time.monotonic() + seconds
        self._dropped.update(drop)
        if not self._chosen.wait(seconds):
            return Events()
        if not self._busy:
            self._asked.put((until, end, self._dropped, save))
            self._busy, self._dropped = True, set()
        try:
            answer = self._answers.get(timeout=max(0.0, end - time.monotonic()) + LATE_SECONDS)
        except Empty:
            return Events()
        self._busy = False
        if isinstance(answer, BaseException):
            raise answer
        return answer.without(self._dropped)

    def stop(self, seconds: float) -> bool:
        self._asked.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive() and all(trainer.stop(seconds) for trainer in self._trainers)

    def _work(self) -> None:
        self._choose()
        self._chosen.set()
        while (asked := self._asked.get()) is not None:
            try:
                self._answers.put(self._slice(*asked))
            except BaseException as error:  # it is the caller's, as if the call had been made there
                self._answers.put(error)

    def _slice(self, until: int, end: float, drop: set[int], save: bool) -> Events:
        events = Events()
        held = []
        for trainer in self._trainers:
            left = end - time.monotonic()
            news = trainer.advance(until if left > 0 else 0, max(0.0, left), drop, save)
            events.reports += news.reports
            events.saved += news.saved
            events.ended += news.ended
            events.trained += news.trained
            held.append(news.held)
        events.held = all(held)
        return events

    def _choose(self) -> None:
        trainers: list[Trainer] = []
        try:
            from workers.devices import prepare

            prepare(self._assignment.resources)
            from workers.cohorts.training import cohorts

            found, reasons = cohorts(self._assignment)
            trainers += found
        except BaseException as error:  # what is wrong with the data, each trial finds out and says again
            reason = str(error) if isinstance(error, CannotStack) else sentence_of(error)
            reasons = {member.trial: reason for member in self._assignment.members}
        alone = tuple(member for member in self._assignment.members if member.trial in reasons)
        if alone:
            trainers.append(Turns(replace(self._assignment, members=alone), reasons))
        for trainer in trainers:
            trainer.start()
        self._trainers = trainers


class Worker:
    """Trains one assignment at a time. All methods are called from one thread.

    `trials` counts the trials that have been started here, for recycling.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trials = 0
        self.assignment: Assignment | None = None
        self._trainer: Trainer | None = None
        self._answers = 0  # given in this assignment
        self._kept: list[SliceResult] = []  # given, and not known to be safe
        self._again: list[SliceResult] = []  # given to somebody who is gone: to be said again

    def start(self, assignment: Assignment) -> None:
        """Begin an assignment and return at once; the last one, if any, ends first. Raises `WorkerStuck`."""
        self.stop()
        self.assignment = assignment
        self.trials += len(assignment.members)
        self._trainer = Turns(assignment) if assignment.training.loop else Together(assignment)
        self._trainer.start()

    def advance(
        self, until: int, seconds: float, drop: Collection[int] = (), save: bool = False, acknowledged: int = 0
    ) -> SliceResult:
        """Train on to epoch `until` and return everything new since the last slice.

        Returns as soon as every member has reached `until` or is over, or after about `seconds`; the training
        then goes on up to `until` by itself. Trials in `drop` end first and are not heard of again. With `save`
        each member is saved at the end of its epoch and then waits for `stop`. Answers after the one whose number is
        `acknowledged` are kept, for `repeat`.
        """
        if self.assignment is None or self._trainer is None:
            raise ValueError(f"Worker {self.name} has no assignment. Call start(assignment) before advance(...).")
        events = self._trainer.advance(until, seconds, drop, save)
        again, self._again = self._again, []
        self._answers += 1
        answer = SliceResult(
            assignment=self.assignment.id,
            worker=self.name,
            reports=(*chain.from_iterable(item.reports for item in again), *events.reports),
            saved=(*chain.from_iterable(item.saved for item in again), *events.saved),
            ended=(*chain.from_iterable(item.ended for item in again), *events.ended),
            trained=(*chain.from_iterable(item.trained for item in again), *events.trained),
            rss_bytes=rss_bytes(),
            progress=self._trainer.progress,
            held=events.held,
            number=self._answers,
        )
        self._kept = [kept for kept in self._kept if kept.number > acknowledged] + [answer]
        return answer

    def repeat(self) -> None:
        """Say with the next slice once more what was not acknowledged: from now on another coordinator asks."""
        self._again, self._kept = [*self._again, *self._kept], []

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the assignment, if any. Raises `WorkerStuck` when its code has not ended after `seconds`."""
        if self._trainer is not None and not self._trainer.stop(seconds):
            label = self.assignment.label if self.assignment else "its assignment"
            raise WorkerStuck(
                f"Worker {self.name} could not end {label}: its code did not come to the end of a batch within "
                f"{seconds:g} s. The worker's process has to be replaced."
            )
        self._trainer = self.assignment = None
        self._answers, self._kept, self._again = 0, [], []

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:
        """Dry-run a study here; see workers/dry_run.py. Mistakes of the user come back as problems.

        `resources` is what a trial will have: TensorFlow's limits are set once per process.
        """
        from workers.dry_run import check

        return check(training, resources or Resources())


def _forget() -> None:
    """Let go of the last trial's graphs and arrays, so that memory stays flat over hundreds of trials."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session()
    gc.collect()
