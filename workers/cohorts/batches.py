"""What a stack trains and evaluates on, a call of its program at a time: rows in memory, or a dataset as it is read.

Nothing of a dataset is kept: a batch is given to all members of a stack, and forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from workers.data import DataError, Part
from workers.feeding import rows_of, tensors


@dataclass(frozen=True)
class Batches:
    """The batches of one call."""

    data: Any  # what `fit` takes, as tensors
    order: Any  # the rows of these batches among them, one batch after the other, int64
    batch: int  # rows of a batch; the last one may have fewer

    @property
    def count(self) -> int:
        """How many batches these are."""
        return math.ceil(len(self.order) / self.batch)


class Feed(Protocol):
    """A part of the data."""

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:
        """An epoch that counts from 0, at most `steps` batches of `batch` rows at a time."""
        ...

    def evaluation(self, batch: int) -> Iterator[Batches]:
        """All rows as they stand, in batches of `batch` rows."""
        ...


class Resident:
    """Rows in memory. An epoch has them in the order of workers/feeding.py."""

    def __init__(self, data: Any) -> None:
        """`data`: what `fit` takes, as tensors."""
        self.data, self.rows = data, rows_of(data)

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:
        chosen, places = tf.constant([seed, epoch], tf.int64), tf.range(self.rows, dtype=tf.int64)
        order = tf.random.experimental.index_shuffle(places, chosen, tf.constant(self.rows - 1, tf.int64))
        for first in range(0, self.rows, batch * steps):
            yield Batches(self.data, order[first : first + batch * steps], batch)

    def evaluation(self, batch: int) -> Iterator[Batches]:
        yield Batches(self.data, tf.range(self.rows, dtype=tf.int64), batch)


class Streamed:
    """A dataset, in its own batches. Each pass reads it anew: where it shuffles each time, in another order."""

    def __init__(self, dataset: Any, name: str) -> None:
        """`name`: of the part of the data, for people."""
        self._dataset, self._name = dataset, name

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:  # noqa: ARG002
        return self._pass()

    def evaluation(self, batch: int) -> Iterator[Batches]:  # noqa: ARG002
        return self._pass()

    def _pass(self) -> Iterator[Batches]:
        """One batch at a time. Raises DataError where there is none."""
        empty = True
        for data in self._dataset:
            yield whole(data)
            empty = False
        if empty:
            raise DataError(
                f"The {self._name} dataset yielded no batch. It is read once in each epoch: expected one that gives "
                "its batches each time, as Dataset.from_generator does of a function that begins anew."
            )


def whole(batch: Any) -> Batches:
    """One batch as it stands."""
    rows = rows_of(batch)
    return Batches(batch, tf.range(rows, dtype=tf.int64), max(1, rows))


def feed_of(part: Part, name: str) -> Resident | Streamed:
    """A part of the data, called `name`, as `fit` takes it."""
    return Resident(tensors(part)[0]) if part.dataset is None else Streamed(part.dataset, name)
