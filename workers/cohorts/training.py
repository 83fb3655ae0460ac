"""An assignment of `mlp` trials in slices: grouped into stacks, trained in turns, reported member by member.

Nothing runs between two slices, so a stop is not asking again. Members whose networks differ in more than numbers are
in different stacks. What is saved at one moment is one artifact: the rows of a stack, the models of the members that
end in a slice. A checkpoint of a member that was trained otherwise cannot be used here: the trial starts anew.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from workers import keras_files, models
from workers.checkpoints import Checkpoints
from workers.cohorts import files
from workers.cohorts.layout import layout_of
from workers.cohorts.source import Source, reason_against, source_of
from workers.cohorts.stack import MOST_NUMBERS, Seat, Shape, Stack, first_row
from workers.contract import Assignment
from workers.data import Parts, load
from workers.failures import CannotStack, NonFinite, cause_of, log_of, sentence_of
from workers.gate import Events, Gate, Lane
from workers.progress import require_finite


class Cohort:
    """Trains the members of an assignment together. See `workers.worker.Trainer` for its methods."""

    def __init__(self, assignment: Assignment, parts: Parts) -> None:
        self._training, self._parts = assignment.training, parts
        self._gate = Gate(assignment.members)
        self._checkpoints = Checkpoints(assignment.training)
        self._stacks: list[Stack] = []
        self._waiting = list(self._gate.lanes)  # not in a stack yet
        self._finished: dict[Lane, tuple[Seat, list[np.ndarray]]] = {}  # over in this slice, with the best weights

    @classmethod
    def of(cls, assignment: Assignment) -> Cohort:
        """A cohort of the assignment's members. Raises CannotStack where stacks cannot train on the study's data."""
        training = assignment.training
        if training.data is None:
            raise CannotStack("A Keras study needs data: a file with a target column, or 'module:function'.")
        parts = load(training.data, training.import_paths)
        if reason := reason_against(parts):
            raise CannotStack(reason)
        return cls(assignment, parts)

    @property
    def progress(self) -> int:
        return self._gate.progress

    def start(self) -> None:
        """Nothing to do: building belongs to the first slice."""

    def stop(self, seconds: float) -> bool:  # noqa: ARG002
        """Between two slices nothing runs."""
        self._stacks.clear()
        return True

    def advance(self, until: int, seconds: float, drop: Collection[int]) -> Events:
        end = time.monotonic() + seconds
        self._gate.drop(drop)
        for stack in self._stacks:
            stack.drop(drop)
        self._form()
        while (behind := self._next(until)) is not None:
            self._train(behind, end)
            if time.monotonic() >= end:
                break
        self._save_finished()
        return self._gate.take()

    def _next(self, until: int) -> Stack | None:
        """The stack that is behind the others."""
        self._stacks = [stack for stack in self._stacks if stack.seats]
        behind = [stack for stack in self._stacks if stack.epoch < until]
        return min(behind, key=lambda stack: stack.epoch, default=None)

    # --- forming stacks -------------------------------------------------------------------------------------------

    def _form(self) -> None:
        lanes, self._waiting = [lane for lane in self._waiting if not lane.over], []
        if not lanes:
            return
        source = source_of(self._parts, self._training.seed)
        grouped: defaultdict[Shape, list[tuple[Seat, tuple[Any, ...]]]] = defaultdict(list)
        for lane in lanes:
            try:
                shape, seat, row = self._seat(lane, source)
            except Exception as error:
                _fail([lane], error)
                continue
            if seat.progress.over(self._training):
                self._finish(seat, shape, row[1])
            else:
                grouped[shape].append((seat, row))
        for shape, members in grouped.items():
            most = max(1, MOST_NUMBERS // shape.layout.size)
            for first in range(0, len(members), most):
                seats, rows = zip(*members[first : first + most], strict=True)
                self._stacks.append(Stack(shape, source, seats, rows))
                how = _how(shape, len(seats), len(members))
                for seat in seats:
                    seat.lane.trained(how)

    def _seat(self, lane: Lane, source: Source) -> tuple[Shape, Seat, tuple[Any, ...]]:
        params = models.complete(lane.member.params)
        outputs = int(source.offset.shape[0])
        layout = layout_of(params, int(source.train.x.shape[1]), outputs)
        seat = Seat(lane, (params["learning_rate"], params["l1"], params["l2"], params["dropout"]))
        row = self._resumed(seat, layout.size)
        if row is None:
            row = first_row(layout.initial(lane.member.seed, params["dropout"] > 0), params["optimizer"])
        shape = Shape(layout, params["activation"], params["optimizer"], params["batch_size"], seat.progress.epoch)
        return shape, seat, row

    def _resumed(self, seat: Seat, size: int) -> tuple[Any, ...] | None:
        folder = self._checkpoints.open(seat.lane)
        if folder is None:
            return None
        try:
            row, seat.progress = files.read(folder, seat.lane.member.trial, size)
        except keras_files.NotThisModel as error:
            self._checkpoints.refuse(seat.lane, error)
            return None
        return tuple(tf.constant(item) for item in row)

    # --- training -------------------------------------------------------------------------------------------------

    def _train(self, stack: Stack, end: float) -> None:
        """One epoch, or as much of it as fits before `end`; at least one call of the program."""
        try:
            began = time.monotonic()
            over = stack.train_some()
            while not over and time.monotonic() < end:
                over = stack.train_some()
            metrics = stack.end_epoch() if over else None
            stack.seconds += time.monotonic() - began
            if metrics is not None:
                self._take_in(stack, metrics)
                stack.begin_epoch()
        except Exception as error:
            _fail([seat.lane for seat in stack.seats if seat.lane not in self._finished], error)
            stack.seats = []

    def _take_in(self, stack: Stack, metrics: list[dict[str, float]]) -> None:
        """Report an epoch of every member, remember the best weights, and let go of those that are over."""
        share = stack.seconds / len(stack.seats)
        improved = []
        for seat, numbers in zip(stack.seats, metrics, strict=True):
            seat.lane.report(stack.epoch, numbers, share)
            improved.append(seat.progress.update(self._training, stack.epoch, numbers))
        stack.remember(improved)
        for seat, numbers in zip(stack.seats, metrics, strict=True):
            self._look_at(stack, seat, numbers)
        stack.keep(lambda seat: not (seat.lane.over or seat.lane in self._finished))
        lanes = [seat.lane for seat in stack.seats]
        if lanes and self._checkpoints.due(lanes):
            progress = {seat.lane.member.trial: seat.progress for seat in stack.seats}
            content = files.content(stack.rows(), progress)
            self._checkpoints.save("checkpoint", dict.fromkeys(lanes, stack.epoch), content)

    def _look_at(self, stack: Stack, seat: Seat, metrics: Mapping[str, float]) -> None:
        try:
            require_finite(self._training, stack.epoch, metrics)
        except NonFinite as error:  # its row goes; the others never saw it
            _fail([seat.lane], error)
            return
        if seat.progress.over(self._training):
            self._finish(seat, stack.shape, stack.best_row(seat))

    def _finish(self, seat: Seat, shape: Shape, best: Any) -> None:
        """Take a member's best weights, which the model that Keras builds for it takes, out of its stack."""
        self._finished[seat.lane] = seat, shape.layout.weights(np.asarray(best))

    def _save_finished(self) -> None:
        """Save the models of the members that are over, as one artifact, and end their trials."""
        finished, self._finished = self._finished, {}
        best = {lane: epoch for lane, (seat, _) in finished.items() if (epoch := seat.progress.best_epoch) is not None}
        try:
            if best:
                content = {lane.member.trial: finished[lane][1] for lane in best}
                self._checkpoints.save("model", best, keras_files.weights(content, self._parts))
        except Exception as error:
            _fail(finished, error)
            return
        for lane in finished:
            lane.end(best_epoch=best.get(lane))


def _fail(lanes: Iterable[Lane], error: Exception) -> None:
    """End the trials that are not over yet with an error that concerns all of them."""
    for lane in lanes:
        if not lane.over:
            lane.end(cause_of(error), sentence_of(error), log_of(error))


def _how(shape: Shape, members: int, alike: int) -> str:
    """How the members of a stack are trained, in words. `alike`: how many of the assignment have their structure."""
    program = f"program: mlp, depth {shape.layout.depth}"
    if members > 1:
        return f"in a cohort of {members} ({program})"
    if alike > 1:
        size = shape.layout.size
        return f"alone ({program}): a stack holds at most {MOST_NUMBERS:,} weights, and each trial has {size:,}"
    return f"alone ({program}): the only trial of its structure in its assignment"
