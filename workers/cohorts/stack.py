"""The members of one stack: they train together, each has its own best weights, and any of them may leave.

Everything of a member is a row: leaving is a gather of the rows that stay, which costs no new trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from workers.cohorts.batches import Batches
from workers.cohorts.structure import Rows, Structure
from workers.trials.gate import Lane
from workers.trials.progress import Progress


@dataclass
class Seat:
    """One member of a stack."""

    lane: Lane
    hyper: Sequence[float]  # what was lifted out of its model
    progress: Progress = field(default_factory=Progress)


class Stack:
    """K members of one structure. The rows of weights, best weights and slots belong to `seats` in order."""

    def __init__(self, structure: Structure, seats: Sequence[Seat], rows: Sequence[Sequence[Any]]) -> None:
        """`rows`: of each member its weights, its best weights and its slots. All are at the same epoch and step."""
        self.structure = structure
        self.epoch, self.steps = seats[0].progress.epoch, seats[0].progress.steps
        self.seats = list(seats)
        self.weights, self.best, *self.slots = (tf.stack(item) for item in zip(*rows, strict=True))
        self._hyper = tf.constant([seat.hyper for seat in seats], tf.float64)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start counting anew."""
        members = len(self.seats)
        self.seconds = 0.0  # spent on this epoch so far
        self._training = self.structure.training(self.epoch, members)
        self._validation = self.structure.validation(members)
        self._trained = self._checked = self.structure.begin(members)

    def train_some(self) -> bool:
        """Train on the next batches of the epoch, or evaluate on the next ones after them; whether it is over."""
        if (batches := next(self._training, None)) is not None:
            self._train(batches)
        elif (batches := next(self._validation, None)) is not None:
            self._evaluate(batches)
        else:
            return True
        for seat in self.seats:
            seat.lane.batches += batches.count
        return False

    def end_epoch(self) -> list[dict[str, float]]:
        """The metrics that Keras would report of the epoch that is over, per member."""
        self.epoch += 1
        for seat in self.seats:
            seat.progress.steps = self.steps
        return self.structure.results(self._trained, self._checked)

    def _train(self, batches: Batches) -> None:
        def train(rows: Rows, hyper: Any, sums: Any) -> tuple[Rows, Any]:
            return self.structure.train(rows, hyper, batches, self.steps, sums)

        rows, self._trained = self._in_parts(train, (self.weights, *self.slots), self._hyper, self._trained)
        self.weights, *self.slots = rows
        self.steps += batches.count

    def _evaluate(self, batches: Batches) -> None:
        def evaluate(weights: Any, hyper: Any, sums: Any) -> Any:
            return self.structure.evaluate(weights, hyper, batches, sums)

        self._checked = self._in_parts(evaluate, self.weights, self._hyper, self._checked)

    def _in_parts(self, compute: Callable[..., Any], *given: Any) -> Any:
        """What `compute` makes of all members, some after the others where they are too many to compute at once."""
        width, members = self.structure.width, len(self.seats)
        if members <= width:
            return compute(*given)
        parts = [
            compute(*tf.nest.map_structure(lambda item, first=first: item[first : first + width], given))
            for first in range(0, members, width)
        ]
        return tf.nest.map_structure(lambda *items: tf.concat(items, 0), *parts)

    def remember(self, improved: Sequence[bool]) -> None:
        """Keep the present weights of these members as their best."""
        self.best = tf.where(tf.constant(list(improved))[:, None], self.weights, self.best)

    def rows(self) -> dict[int, list[np.ndarray]]:
        """Each member's weights, best weights and slots, by trial number."""
        arrays = [item.numpy() for item in (self.weights, self.best, *self.slots)]
        return {seat.lane.member.trial: [item[place] for item in arrays] for place, seat in enumerate(self.seats)}

    def best_row(self, seat: Seat) -> np.ndarray:
        """A member's best weights."""
        return np.asarray(self.best[self.seats.index(seat)])

    def keep(self, stays: Callable[[Seat], bool]) -> None:
        """Let the others leave."""
        places = [place for place, seat in enumerate(self.seats) if stays(seat)]
        if len(places) == len(self.seats):
            return
        self.seats = [self.seats[place] for place in places]
        rows = tf.constant(places, tf.int32)
        kept = (self._hyper, self._trained, self._checked, self.weights, self.best, *self.slots)
        taken = [tf.gather(item, rows) for item in kept]
        self._hyper, self._trained, self._checked, self.weights, self.best, *self.slots = taken

    def drop(self, trials: Collection[int]) -> None:
        """Let these trials leave."""
        self.keep(lambda seat: seat.lane.member.trial not in trials)
