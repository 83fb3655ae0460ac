"""What a stack trains and evaluates on, a call of its program at a time: rows in memory, or a dataset as it is read.

Nothing of a dataset is kept: some batches are given to all members of a stack, and forgotten. More than one at a time,
because a call costs as much as one or two steps of small networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from workers.data import DataError, Part
from workers.trials.feeding import rows_of, tensors

_NUMBERS = 2**22  # 16 MiB that the batches of a call may take, but for a larger one alone
_SECONDS = 0.1  # to wait for them at most, and for one: progress is counted by the call


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


class BatchReader(Protocol):
    """A part of the data."""

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:
        """An epoch that counts from 0, at most `steps` batches of `batch` rows at a time."""
        ...

    def evaluation(self, batch: int, steps: int) -> Iterator[Batches]:
        """All rows as they stand, likewise."""
        ...


class Resident:
    """Rows in memory. An epoch has them in the order of workers/trials/feeding.py."""

    def __init__(self, data: Any) -> None:
        """`data`: what `fit` takes, as tensors."""
        self.data, self.rows = data, rows_of(data)

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:
        chosen, places = tf.constant([seed, epoch], tf.int64), tf.range(self.rows, dtype=tf.int64)
        order = tf.random.experimental.index_shuffle(places, chosen, tf.constant(self.rows - 1, tf.int64))
        for first in range(0, self.rows, batch * steps):
            yield Batches(self.data, order[first : first + batch * steps], batch)

    def evaluation(self, batch: int, steps: int) -> Iterator[Batches]:  # noqa: ARG002 - nothing in it is long
        yield Batches(self.data, tf.range(self.rows, dtype=tf.int64), batch)


class Streamed:
    """A dataset, in its own batches. Each pass reads it anew: where it shuffles each time, in another order."""

    def __init__(self, dataset: Any, name: str) -> None:
        """`name`: of the part of the data, for people."""
        self._dataset, self._name = dataset, name

    def training(self, batch: int, steps: int, seed: int, epoch: int) -> Iterator[Batches]:  # noqa: ARG002
        return self._pass(steps)

    def evaluation(self, batch: int, steps: int) -> Iterator[Batches]:  # noqa: ARG002
        return self._pass(steps)

    def _pass(self, steps: int) -> Iterator[Batches]:
        """At most `steps` batches at a time. Raises DataError where there is none."""
        held: list[Any] = []
        due = 0.0
        for batch in self._dataset:
            if held and not _can_follow(held, batch):
                yield joined(held)
                held = []
            due = due if held else time.monotonic() + _SECONDS
            held.append(batch)
            if len(held) >= min(steps, _NUMBERS / _numbers(batch)) or time.monotonic() > due:
                yield joined(held)
                held = []
        if held:
            yield joined(held)
        elif due == 0.0:
            raise DataError(
                f"The {self._name} dataset yielded no batch. It is read once in each epoch: expected one that gives "
                "its batches each time, as Dataset.from_generator does of a function that begins anew."
            )


def joined(batches: Sequence[Any]) -> Batches:
    """Batches of as many rows as the first has; the last one may have fewer."""
    data = tf.nest.map_structure(lambda *items: tf.concat(items, 0), *batches) if batches[1:] else batches[0]
    return Batches(data, tf.range(rows_of(data), dtype=tf.int64), max(1, rows_of(batches[0])))


def _can_follow(held: Sequence[Any], batch: Any) -> bool:
    """Whether this batch and those before it can be joined."""
    shapes = [[item.shape[1:] for item in tf.nest.flatten(each)] for each in (held[0], batch)]
    return shapes[0] == shapes[1] and rows_of(held[-1]) == rows_of(held[0]) >= rows_of(batch)


def _numbers(batch: Any) -> int:
    numbers: int = sum(math.prod(item.shape) for item in tf.nest.flatten(batch))
    return max(1, numbers)


def reader_of(part: Part, name: str) -> Resident | Streamed:
    """A part of the data, called `name`, as `fit` takes it."""
    return Resident(tensors(part)[0]) if part.dataset is None else Streamed(part.dataset, name)
