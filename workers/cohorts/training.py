"""An assignment of `mlp` trials in slices: grouped into stacks, trained in turns, reported member by member.

Nothing runs between two slices, so a stop is not asking again. Members whose networks differ in more than numbers are
in different stacks. A checkpoint of a member that was trained otherwise cannot be used here: the trial starts anew.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping
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
from workers.failures import NonFinite, cause_of, log_of, sentence_of
from workers.gate import Events, Gate, Lane
from workers.progress import require_finite


class Cohort:
    """Trains the members of an assignment together. See `workers.worker.Trainer` for its methods."""

    def __init__(self, assignment: Assignment, parts: Parts) -> None:
        self._training, self._parts = assignment.training, parts
        self._gate = Gate(assignment.members)
        self._checkpoints = {lane: Checkpoints(lane, assignment.training) for lane in self._gate.lanes}
        self._stacks: list[Stack] = []
        self._waiting = list(self._gate.lanes)  # not in a stack yet

    @classmethod
    def of(cls, assignment: Assignment) -> Cohort:
        """A cohort of the assignment's members. Raises ValueError where stacks cannot train on the study's data."""
        training = assignment.training
        if training.data is None:
            raise ValueError("A Keras study needs data: a file with a target column, or 'module:function'.")
        parts = load(training.data, training.import_paths)
        if reason := reason_against(parts):
            raise ValueError(f"{reason}.")
        return cls(assignment, parts)

    @property
    def progress(self) -> int:
        return self._gate.progress

    @property
    def held(self) -> bool:
        return self._gate.held

    def start(self) -> None:
        """Nothing to do: building belongs to the first slice."""

    def stop(self, seconds: float) -> bool:  # noqa: ARG002
        """Between two slices nothing runs."""
        self._stacks.clear()
        return True

    def advance(self, until: int, seconds: float, drop: Collection[int], save: bool = False) -> Events:
        end = time.monotonic() + seconds
        self._gate.drop(drop)
        if save:
            self._gate.save()
        for stack in self._stacks:
            stack.drop(drop)
        self._form()
        while (behind := self._next(until)) is not None:
            self._train(behind, end)
            if time.monotonic() >= end:
                break
        return self._gate.take()

    def _next(self, until: int) -> Stack | None:
        """The stack that is behind the others, but for those that were saved to be stopped."""
        self._stacks = [stack for stack in self._stacks if stack.seats]
        moving = [stack for stack in self._stacks if not all(seat.lane.held for seat in stack.seats)]
        behind = [stack for stack in moving if stack.epoch < until]
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
                lane.end(cause_of(error), sentence_of(error), log_of(error))
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
        folder = self._checkpoints[seat.lane].open()
        if folder is None:
            return None
        try:
            row, seat.progress = files.read(folder, size)
        except keras_files.NotThisModel as error:
            self._checkpoints[seat.lane].refuse(error)
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
            for seat in stack.seats:
                seat.lane.end(cause_of(error), sentence_of(error), log_of(error))
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
        stack.keep(lambda seat: not seat.lane.over)
        for seat in stack.seats:
            if self._checkpoints[seat.lane].due:
                content = files.content(stack.row(seat), seat.progress)
                self._checkpoints[seat.lane].save("checkpoint", stack.epoch, content)
            seat.lane.held |= seat.lane.saving

    def _look_at(self, stack: Stack, seat: Seat, metrics: Mapping[str, float]) -> None:
        try:
            require_finite(self._training, stack.epoch, metrics)
        except NonFinite as error:  # its row goes; the others never saw it
            seat.lane.end(cause_of(error), sentence_of(error), log_of(error))
            return
        if seat.progress.over(self._training):
            self._finish(seat, stack.shape, stack.best_row(seat))

    def _finish(self, seat: Seat, shape: Shape, best: Any) -> None:
        """Save a member's best weights, which the model that Keras builds for it takes, and end the trial."""
        epoch, lane = seat.progress.best_epoch, seat.lane
        if epoch is not None:
            content = keras_files.weights(shape.layout.weights(np.asarray(best)), self._parts)
            self._checkpoints[lane].save("model", epoch, content)
        lane.end(best_epoch=epoch)
