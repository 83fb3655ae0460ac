"""The members of one stack: they train together, each has its own best weights, and any of them may leave.

Everything of a member is a row: leaving is a gather of the rows that stay, which costs no new trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from workers.cohorts.layout import Layout
from workers.cohorts.program import ACTIVATIONS, SUMS, program
from workers.cohorts.source import Source, Table
from workers.cohorts.updates import UPDATES, first_slots
from workers.gate import Lane
from workers.progress import Progress

MOST_NUMBERS = 1_000_000  # weights in a stack: beyond the caches of a core, members are faster alone (measured)
STEPS = 200  # batches in one call of the compiled function: between two calls a slice can end


@dataclass(frozen=True)
class Shape:
    """What members must have in common, so that one program trains them: only numbers may differ."""

    layout: Layout
    activation: str
    optimizer: str
    batch_size: int
    epoch: int  # epochs they have finished: they see the same batches from there on


@dataclass
class Seat:
    """One member of a stack."""

    lane: Lane
    hyper: tuple[float, float, float, float]  # learning rate, L1, L2, dropout rate
    progress: Progress = field(default_factory=Progress)


class Stack:
    """K members of one shape. Rows of `weights` and `best` (K, P) and of the two slots belong to `seats` in order."""

    def __init__(self, shape: Shape, source: Source, seats: Sequence[Seat], rows: Sequence[Any]) -> None:
        self.shape, self.epoch = shape, shape.epoch
        self.seats = list(seats)
        self._source, self._program = source, program(shape.layout.depth, source.loss)
        self.weights, self.best, *slots = (tf.stack(item) for item in zip(*rows, strict=True))
        self.slots = tuple(slots)
        self._hyper = tf.constant([seat.hyper for seat in seats], tf.float32)
        self._common = self._constants()
        self._batch = 0  # batches of this epoch that are done
        self.seconds = 0.0  # spent on this epoch so far
        self._sums = tf.zeros([len(self.seats), SUMS])

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self._source.train.rows // self.shape.batch_size)

    def begin_epoch(self) -> None:
        self._batch, self.seconds, self._sums = 0, 0.0, tf.zeros([len(self.seats), SUMS])

    def train_some(self) -> bool:
        """Train on the next batches of the epoch; whether it is over."""
        source, first = self._source, self._batch
        last = min(first + STEPS, self.batches)
        order = _order(source.train.rows, source.seed, self.epoch)
        self.weights, self.slots, self._sums = self._program.train(
            self.weights, self._hyper, *self._common, *_tensors(source.train), self.slots, order, first, last,
            self.shape.batch_size, list(UPDATES).index(self.shape.optimizer), self.epoch * self.batches,
            tf.constant([source.seed, self.epoch], tf.int64), self._sums,
        )  # fmt: skip
        self._batch = last
        for seat in self.seats:
            seat.lane.batches += last - first
        return last == self.batches

    def end_epoch(self) -> list[dict[str, float]]:
        """Evaluate; the metrics that Keras would report of the epoch that is over, per member."""
        source = self._source
        validated = self._program.evaluate(self.weights, self._hyper, *self._common, *_tensors(source.validation))
        trained = self._sums.numpy() / source.train.rows
        checked = validated.numpy() / source.validation.rows
        self.epoch += 1
        return [self._named(*pair) for pair in zip(trained, checked, strict=True)]

    def remember(self, improved: Sequence[bool]) -> None:
        """Keep the present weights of these members as their best."""
        self.best = tf.where(tf.constant(list(improved))[:, None], self.weights, self.best)

    def rows(self) -> dict[int, list[np.ndarray]]:
        """Each member's weights, best weights and two slots, (P,) each, by trial number."""
        arrays = [item.numpy() for item in (self.weights, self.best, *self.slots)]
        return {seat.lane.member.trial: [item[place] for item in arrays] for place, seat in enumerate(self.seats)}

    def best_row(self, seat: Seat) -> np.ndarray:
        """A member's best weights, (P,)."""
        return np.asarray(self.best[self.seats.index(seat)])

    def keep(self, stays: Callable[[Seat], bool]) -> None:
        """Let the others leave."""
        places = [place for place, seat in enumerate(self.seats) if stays(seat)]
        if len(places) == len(self.seats):
            return
        self.seats = [self.seats[place] for place in places]
        rows = tf.constant(places, tf.int32)
        taken = [tf.gather(item, rows) for item in (self.weights, self.best, *self.slots, self._hyper, self._sums)]
        self.weights, self.best, first, second, self._hyper, self._sums = taken
        self.slots = first, second

    def drop(self, trials: Collection[int]) -> None:
        """Let these trials leave."""
        self.keep(lambda seat: seat.lane.member.trial not in trials)

    def _constants(self) -> tuple[Any, ...]:
        layout = self.shape.layout
        activation = list(ACTIVATIONS).index(self.shape.activation)
        penalized = tf.constant(layout.penalized())
        return layout.dims, layout.sizes, penalized, activation, self._source.offset, self._source.scale

    def _named(self, trained: Any, checked: Any) -> dict[str, float]:
        metrics = {}
        for prefix, (data, penalty, metric) in (("", map(float, trained)), ("val_", map(float, checked))):
            metrics[f"{prefix}loss"] = data + penalty
            metrics[f"{prefix}{self._source.metric}"] = metric
            metrics[f"{prefix}data_loss"], metrics[f"{prefix}penalty"] = data, penalty
        return metrics


def first_row(weights: np.ndarray, optimizer: str) -> tuple[Any, ...]:
    """A member's rows before its first step: weights, best weights and the optimizer's slots."""
    begun = tf.constant(weights)
    return (begun, begun, *first_slots(optimizer, begun))


def _tensors(table: Table) -> tuple[Any, Any, Any]:
    return table.x, table.y, table.weight


def _order(rows: int, seed: int, epoch: int) -> Any:
    """The order of the rows in an epoch that counts from 0, (rows,) int64: the one of workers/feeding.py."""
    chosen = tf.constant([seed, epoch], tf.int64)
    return tf.random.experimental.index_shuffle(tf.range(rows, dtype=tf.int64), chosen, tf.constant(rows - 1, tf.int64))
