"""The members of one stack: they train together, each has its own best weights, and any of them may leave.

Everything of a member is a row: leaving is a gather of the rows that stay, which costs no new trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from workers.cohorts.structure import Span, Structure
from workers.gate import Lane
from workers.progress import Progress


@dataclass
class Seat:
    """One member of a stack."""

    lane: Lane
    hyper: Sequence[float]  # what was lifted out of its model
    progress: Progress = field(default_factory=Progress)


class Stack:
    """K members of one structure. The rows of weights, best weights and slots belong to `seats` in order."""

    def __init__(self, structure: Structure, seats: Sequence[Seat], rows: Sequence[Sequence[Any]]) -> None:
        """`rows`: of each member its weights, its best weights and its slots. All are at the same epoch."""
        self.structure, self.epoch = structure, seats[0].progress.epoch
        self.seats = list(seats)
        self.weights, self.best, *self.slots = (tf.stack(item) for item in zip(*rows, strict=True))
        self._hyper = tf.constant([seat.hyper for seat in seats], tf.float64)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start counting anew."""
        self._batch = 0  # batches of this epoch that are done
        self.seconds = 0.0  # spent on this epoch so far
        self._sums = self.structure.begin(len(self.seats))

    def train_some(self) -> bool:
        """Train on the next batches of the epoch; whether it is over."""
        batches, members = self.structure.batches, len(self.seats)
        span = Span(self.epoch, self._batch, min(self._batch + self.structure.steps(members), batches))
        rows, self._sums = self.structure.train((self.weights, *self.slots), self._hyper, span, self._sums)
        self.weights, *self.slots = rows
        self._batch = span.last
        for seat in self.seats:
            seat.lane.batches += span.last - span.first
        return span.last == batches

    def end_epoch(self) -> list[dict[str, float]]:
        """Evaluate; the metrics that Keras would report of the epoch that is over, per member."""
        self.epoch += 1
        return self.structure.end(self.weights, self._hyper, self._sums)

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
        taken = [tf.gather(item, rows) for item in (self.weights, self.best, self._hyper, self._sums, *self.slots)]
        self.weights, self.best, self._hyper, self._sums, *self.slots = taken

    def drop(self, trials: Collection[int]) -> None:
        """Let these trials leave."""
        self.keep(lambda seat: seat.lane.member.trial not in trials)
