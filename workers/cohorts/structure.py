"""What a stack asks of the models it holds: two kinds answer, `family` for the `mlp` family and `lifted` for any other.

A member is a row of numbers: its weights (W,), and the slots that its optimizer keeps. K members are matrices (K, W).
Members of equal structure differ in their rows and in their `hyper`, the numbers that were lifted out of their models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

BYTES_PER_WEIGHT = 48
"""Of a member: its weights, its best ones, up to three slots, and once more while a step makes new ones."""

MOST_ACTIVATIONS = 2**24
"""Numbers that a batch leaves in the layers of all members of a stack, 64 MiB: a limit for memory, not for speed."""

Rows = tuple[Any, ...]
"""The weights of a stack (K, W) and its optimizer's slots (K, ...)."""


@dataclass(frozen=True)
class Span:
    """Some batches of one epoch."""

    epoch: int  # counts from 0
    first: int
    last: int  # the one after them


class Structure(Protocol):
    """What members of one stack have in common. Equal values can share a stack; the compiled program is shared too."""

    @property
    def label(self) -> str:
        """The program's name, for people."""
        ...

    @property
    def limit(self) -> str:
        """Why a stack holds no more than `most` members, for people."""
        ...

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        ...

    @property
    def most(self) -> int:
        """How many members a stack may hold before they would train faster in smaller ones."""
        ...

    def steps(self, members: int) -> int:
        """How many batches to train in one call: between two calls a slice can end."""
        ...

    def begin(self, members: int) -> Any:
        """What an epoch adds up, before its first batch: (K, ...)."""
        ...

    def train(self, rows: Rows, hyper: Any, span: Span, sums: Any) -> tuple[Rows, Any]:
        """Train on these batches; new rows and sums."""
        ...

    def end(self, weights: Any, hyper: Any, sums: Any) -> list[dict[str, float]]:
        """Evaluate; the metrics that Keras would report of the epoch that `sums` is of, per member."""
        ...

    def shapes(self) -> list[tuple[int, ...]]:
        """Of a member's weights, best weights and slots."""
        ...

    def arrays(self, row: np.ndarray) -> list[np.ndarray]:
        """A member's weights (W,) as `keras.Model.set_weights` takes them."""
        ...


def order(rows: int, seed: int, epoch: int) -> Any:
    """The order of the rows in an epoch that counts from 0, (rows,) int64: the one of workers/feeding.py."""
    chosen = tf.constant([seed, epoch], tf.int64)
    return tf.random.experimental.index_shuffle(tf.range(rows, dtype=tf.int64), chosen, tf.constant(rows - 1, tf.int64))


def named(metric: str, data: float, penalty: float, rest: dict[str, float]) -> dict[str, float]:
    """An epoch's metrics of one part of the data. `metric`: what stands in front of their names."""
    return {f"{metric}{name}": value for name, value in
            {"loss": data + penalty, **rest, "data_loss": data, "penalty": penalty}.items()}  # fmt: skip
