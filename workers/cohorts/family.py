"""Stacks of the `mlp` family: one program serves every depth, width, batch size, activation and optimizer.

Where an epoch is long, the members are trained by a program of their structure alone, one after the other.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from workers.cohorts.batches import Batches, Resident
from workers.cohorts.compiled import compiled
from workers.cohorts.layout import Layout, layout_of
from workers.cohorts.networks import ACTIVATIONS
from workers.cohorts.program import EVALUATION_ROWS, SUMS, first_slots, program
from workers.cohorts.source import Source
from workers.cohorts.structure import MOST_ACTIVATIONS, Rows, named, sharing
from workers.contract import Member
from workers.trials import models
from workers.trials.feeding import rows_of

MOST_NUMBERS = 500_000  # weights in a stack: more of them are no faster per member (measured), and take memory
STEPS = 200  # batches in one call of a program
COMPILED_FROM, TOGETHER, PER_STEP = 200_000_000, 8, 150_000
"""When to compile a structure: from so many weights times steps on in an epoch of so many members, where a step counts
for so many weights more. XLA spares 1 to 2 nanoseconds of each, and needs a second (docs/measurements.md)."""


@dataclass(frozen=True)
class Family:
    """A shape of network; see `Structure`. A row of `hyper` is (learning rate, L1, L2, dropout rate)."""

    layout: Layout
    activation: str
    optimizer: str
    batch_size: int
    source: Source = field(compare=False)
    own: Any | None = field(default=None, compare=False)  # the program of this structure alone, where it is compiled

    @classmethod
    def of(cls, layout: Layout, activation: str, optimizer: str, batch_size: int, source: Source) -> Family:
        """The structure, with a program of its own where that pays and a process has not compiled its most yet."""
        train, own = source.train, None
        # Batches of a dataset come in many shapes, each of which would be compiled; the others were not measured.
        if isinstance(train, Resident) and sys.platform == "linux" and not tf.config.list_logical_devices("GPU"):
            batch = min(batch_size, train.rows)
            if math.ceil(train.rows / batch) * (TOGETHER * layout.size + PER_STEP) >= COMPILED_FROM:
                own = compiled(layout, activation, optimizer, source.loss, batch, train.rows)
        return cls(layout, activation, optimizer, batch_size, source, own)

    @property
    def label(self) -> str:
        return f"mlp, depth {self.layout.depth}{', compiled' if self.own else ''}"

    @property
    def limit(self) -> str:
        return (
            f"a stack holds at most {MOST_NUMBERS:,} weights and {MOST_ACTIVATIONS:,} numbers from its layers; of each "
            f"trial these are {self.layout.size:,} and {self._activations:,}"
        )

    @property
    def width(self) -> int:
        return max(1, min(MOST_NUMBERS // self.layout.size, MOST_ACTIVATIONS // self._activations))

    @property
    def most(self) -> int:
        if self.source.rows is None:
            return self.width
        return max(self.width, sharing(self.layout.size * self.batch_size))

    def training(self, epoch: int, members: int) -> Iterator[Batches]:  # noqa: ARG002
        return self.source.train.training(self.batch_size, STEPS, self.source.seed, epoch)

    def validation(self, members: int) -> Iterator[Batches]:  # noqa: ARG002
        return self.source.validation.evaluation(EVALUATION_ROWS, STEPS)

    def begin(self, members: int) -> Any:
        return tf.zeros([members, SUMS])

    def train(self, rows: Rows, hyper: Any, batches: Batches, done: int, sums: Any) -> tuple[Rows, Any]:
        if self.own:
            return self._one_by_one(self.own, rows, hyper, batches, done, sums)
        weights, slots, sums = self._program.train(
            rows[0], hyper, *self._constants(), *batches.data, rows[1:], batches.order, batches.batch,
            list(models.OPTIMIZERS).index(self.optimizer), done, tf.constant(self.source.seed, tf.int64), sums,
        )  # fmt: skip
        return (weights, *slots), sums

    def evaluate(self, weights: Any, hyper: Any, batches: Batches, sums: Any) -> Any:
        return sums + self._program.evaluate(weights, hyper, *self._constants(), *batches.data)

    def results(self, trained: Any, checked: Any) -> list[dict[str, float]]:
        own, val = ((sums[:, :-1] / sums[:, -1:]).numpy() for sums in (trained, checked))
        return [self._named("", *one) | self._named("val_", *two) for one, two in zip(own, val, strict=True)]

    def shapes(self) -> list[tuple[int, ...]]:
        return [(self.layout.size,)] * 4

    def arrays(self, row: np.ndarray) -> list[np.ndarray]:
        return self.layout.weights(row)

    @property
    def _activations(self) -> int:
        """Numbers that a batch leaves in a member's layers."""
        return max(self.batch_size, EVALUATION_ROWS) * sum(self.layout.dims)

    @property
    def _program(self) -> Any:
        return program(self.source.loss)

    def _constants(self) -> tuple[Any, ...]:
        layout = self.layout
        slopes, activation = layout.width if layout.slopes else 0, list(ACTIVATIONS).index(self.activation)
        shape = [layout.inputs, layout.width, layout.outputs, layout.depth, slopes, activation]
        return shape, self.source.offset, self.source.scale

    def _one_by_one(
        self, train: Any, rows: Rows, hyper: Any, batches: Batches, done: int, sums: Any
    ) -> tuple[Rows, Any]:
        length = min(self.batch_size * STEPS, rows_of(batches.data))
        order = tf.pad(batches.order, [[0, length - len(batches.order)]])  # of one shape
        numbers = tf.constant(len(batches.order)), tf.constant(done), tf.constant(self.source.seed, tf.int64)
        common = self.source.offset, self.source.scale, *batches.data, order, *numbers
        trained = [
            train(weights, slots, member, *common, begun)
            for weights, *slots, member, begun in zip(*rows, hyper, sums, strict=True)
        ]
        *new, sums = (tf.stack(items) for items in zip(*trained, strict=True))
        return tuple(new), sums

    def _named(self, prefix: str, data: float, penalty: float, metric: float) -> dict[str, float]:
        return named(prefix, float(data), float(penalty), {self.source.metric: float(metric)})


def begun(member: Member, source: Source) -> tuple[Family, tuple[float, ...], list[Any]]:
    """A trial's structure, its lifted numbers, and its weights, best weights and slots before the first step."""
    params = models.complete(member.params)
    outputs = int(source.offset.shape[0])
    layout = layout_of(params, source.inputs, outputs)
    rows = source.rows or params["batch_size"]
    structure = Family.of(layout, params["activation"], params["optimizer"], rows, source)
    hyper = (params["learning_rate"], params["l1"], params["l2"], params["dropout"])
    weights = tf.constant(layout.initial(member.seed, params["dropout"] > 0))
    return structure, hyper, [weights, weights, *first_slots(params["optimizer"], weights)]
