"""The members of an assignment in slices: grouped into stacks, trained in turns, reported member by member.

Nothing runs between two slices, so a stop is not asking again. Members whose models differ in more than numbers are
in different stacks. What is saved at one moment is one artifact: the rows of a stack, the models of the members that
end in a slice.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from workers.cohorts import files
from workers.cohorts.placing import Place, places
from workers.cohorts.stack import Seat, Stack
from workers.cohorts.structure import Structure
from workers.contract import Assignment, Member
from workers.data import Parts, fold_of, load
from workers.failures import CannotStack, NonFinite, cause_of, log_of, sentence_of
from workers.trials import keras_files
from workers.trials.checkpoints import Checkpoints
from workers.trials.gate import Events, Gate, Lane
from workers.trials.progress import require_finite


class Cohort:
    """Trains the members of an assignment together. See `workers.worker.Trainer` for its methods."""

    def __init__(self, assignment: Assignment, parts: Parts, places: Mapping[int, Place]) -> None:
        """`places`: by trial, of every member of the assignment."""
        self._training, self._parts = assignment.training, parts
        self._gate = Gate(assignment.members)
        self._checkpoints = Checkpoints(assignment.training)
        self._stacks: list[Stack] = []
        self._finished: dict[Lane, tuple[Seat, list[np.ndarray]]] = {}  # over in this slice, with the best weights
        self._form(places)

    @classmethod
    def of(cls, assignment: Assignment) -> tuple[Cohort | None, dict[int, str]]:
        """A cohort of those members that can be stacked, and by trial the sentence that says why another one cannot.

        All of them train on the rows that the first one trains on, see `cohorts`.
        Raises DataError and its like where the study's data cannot be had.
        """
        training = assignment.training
        if training.data is None:
            raise CannotStack("A Keras study needs data: a file with a target column, or 'module:function'.")
        parts = load(training.data, training.import_paths, assignment.members[0].trial)
        found, reasons = places(assignment, parts)
        members = tuple(member for member in assignment.members if member.trial in found)
        return cls(replace(assignment, members=members), parts, found) if members else None, reasons

    @property
    def progress(self) -> int:
        return self._gate.progress

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
        while (behind := self._next(until)) is not None:
            self._train(behind, end)
            if time.monotonic() >= end:
                break
        self._save_finished()
        return self._gate.take()

    def _next(self, until: int) -> Stack | None:
        """The stack that is behind the others, but for those that were saved to be stopped."""
        self._stacks = [stack for stack in self._stacks if stack.seats]
        moving = [stack for stack in self._stacks if not all(seat.lane.held for seat in stack.seats)]
        behind = [stack for stack in moving if stack.epoch < until]
        return min(behind, key=lambda stack: stack.epoch, default=None)

    # --- forming stacks -------------------------------------------------------------------------------------------

    def _form(self, places: Mapping[int, Place]) -> None:
        grouped: defaultdict[tuple[Structure, int, int], list[tuple[Seat, Sequence[Any]]]] = defaultdict(list)
        for lane in self._gate.lanes:
            place = places[lane.member.trial]
            seat = Seat(lane, place.hyper)
            rows = self._resumed(seat, place.structure) or place.rows
            if seat.progress.over(self._training):
                self._finish(seat, place.structure, rows[1])
            else:
                grouped[place.structure, seat.progress.epoch, seat.progress.steps].append((seat, rows))
        for (structure, _, _), members in grouped.items():
            size = math.ceil(len(members) / math.ceil(len(members) / structure.most))  # equal ones have equal kernels
            for first in range(0, len(members), size):
                seats, begun = zip(*members[first : first + size], strict=True)
                self._stacks.append(Stack(structure, seats, begun))
                how = _how(structure, len(seats), len(members), folds=bool((self._training.data or {}).get("folds")))
                for seat in seats:
                    seat.lane.trained(how)

    def _resumed(self, seat: Seat, structure: Structure) -> Sequence[Any] | None:
        folder = self._checkpoints.open(seat.lane)
        if folder is None:
            return None
        try:
            rows, seat.progress = files.read(folder, seat.lane.member.trial, structure.shapes())
        except keras_files.NotThisModel as error:
            self._checkpoints.refuse(seat.lane, error)
            return None
        return [tf.constant(item) for item in rows]

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
        for lane in lanes:
            lane.held |= lane.saving

    def _look_at(self, stack: Stack, seat: Seat, metrics: Mapping[str, float]) -> None:
        try:
            require_finite(self._training, stack.epoch, metrics)
        except NonFinite as error:  # its row goes; the others never saw it
            _fail([seat.lane], error)
            return
        if seat.progress.over(self._training):
            self._finish(seat, stack.structure, stack.best_row(seat))

    def _finish(self, seat: Seat, structure: Structure, best: Any) -> None:
        """Take a member's best weights, which the model that Keras builds for it takes, out of its stack."""
        weights = structure.arrays(np.asarray(best))
        seat.lane.weights = sum(weight.size for weight in weights)
        self._finished[seat.lane] = seat, weights

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


def cohorts(assignment: Assignment) -> tuple[list[Cohort], dict[int, str]]:
    """Like `Cohort.of`, a cohort for each fold of the data: what another fold validates was trained on other rows."""
    found, reasons = [], dict[int, str]()
    by_fold: defaultdict[int, list[Member]] = defaultdict(list)
    for member in assignment.members:
        by_fold[fold_of(assignment.training.data or {}, member.trial)].append(member)
    for members in by_fold.values():
        cohort, others = Cohort.of(replace(assignment, members=tuple(members)))
        found += [] if cohort is None else [cohort]
        reasons.update(others)
    return found, reasons


def _fail(lanes: Iterable[Lane], error: Exception) -> None:
    """End the trials that are not over yet with an error that concerns all of them."""
    for lane in lanes:
        if not lane.over:
            lane.end(cause_of(error), sentence_of(error), log_of(error))


def _how(structure: Structure, members: int, alike: int, *, folds: bool) -> str:
    """How the members of a stack are trained, in words.

    `alike`: how many of the assignment have their structure and, where the data has folds, their fold.
    """
    if members > 1:
        return f"in a cohort of {members} (program: {structure.label})"
    only = f"the only trial of its structure{' and fold' if folds else ''} in its assignment"
    reason = structure.limit if alike > 1 else only
    return f"alone (program: {structure.label}): {reason}"
