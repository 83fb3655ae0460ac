"""Members of a stack one after the other, each in a program that XLA compiles for its structure.

The program of program.py serves every structure, and goes over the rows of a stack once for each operation of a layer
and of an optimizer. XLA makes few passes of them, over one member, whose rows stay in the processor's cache. That is
faster, but each structure is compiled anew, for about a CPU-second: it is for those that have much to do.

P weights, D inputs, O outputs, B rows of a batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from workers.cohorts.layout import Layout
from workers.cohorts.networks import ACTIVATIONS, prelu
from workers.cohorts.noise import dropped, seed_of, uniform
from workers.cohorts.program import Loss, scored, updated, with_ones

MOST = 48
"""Structures that a process compiles: TensorFlow keeps what XLA makes of each for ever, some 13 MiB."""


@dataclass(frozen=True)
class _Structure:
    """What is fixed in a program. `batch`: B. `rows`: of the data, for XLA compiles for their number."""

    layout: Layout
    activation: str
    optimizer: str
    loss: Loss
    batch: int
    rows: int

    def train(
        self, weights: Any, slots: Sequence[Any], hyper: Any, offset: Any, scale: Any, x: Any, y: Any, row_weight: Any,
        order: Any, total: Any, done: Any, seed: Any, sums: Any,
    ) -> tuple[Any, Any, Any, Any]:  # fmt: skip
        """Train one member on the first `total` rows in `order`: its new weights and slots (P,), and sums (SUMS,).

        Else as in program.py, but for one member: `weights` and `slots` (P,), `hyper` (4,), `sums` (SUMS,).
        """
        rate, *others = tf.unstack(hyper, num=4)  # the rate in float64, see updates.py
        l1, l2, dropout = (tf.cast(number, tf.float32) for number in others)

        def body(step: Any, blocks: Any, first: Any, second: Any, sums: Any) -> Any:
            places = step * self.batch + tf.range(self.batch)
            counted = tf.cast(places < total, tf.float32)  # the last batch is filled with rows that do not count
            rows = tf.gather(order, tf.minimum(places, total - 1))
            inputs, targets, weighted = tf.gather(x, rows), tf.gather(y, rows), tf.gather(row_weight, rows)
            noise = tf.stack([seed, tf.cast(done + step, tf.int64)])
            with tf.GradientTape() as tape:
                tape.watch(blocks)
                arrays = [tf.reshape(block, shape) for block, shape in zip(blocks, self._shapes, strict=True)]
                out = self._outputs(arrays, inputs, dropout, noise)[None]
                data, metric = scored(self.loss, out, targets, weighted, counted, offset, scale)
                penalty = self._penalty(arrays, l1, l2)
                loss = data[0] + penalty
            slopes = tape.gradient(loss, blocks)
            new = [
                updated(self.optimizer, block, slope, tuple(slots), rate, done + step)
                for block, slope, *slots in zip(blocks, slopes, first, second, strict=True)
            ]
            blocks = [block for block, _ in new]
            first, second = ([slots[place] for _, slots in new] for place in (0, 1))
            scores = with_ones(data, penalty[None], metric)[0]
            return step + 1, blocks, first, second, sums + tf.reduce_sum(counted) * scores

        start = (0, *map(self._blocks, (weights, *slots)), sums)
        _, *trained, sums = tf.while_loop(
            lambda step, *_: step * self.batch < total, body, start, parallel_iterations=1
        )
        weights, first, second = (tf.concat(blocks, 0) for blocks in trained)
        return weights, first, second, sums

    def _blocks(self, row: Any) -> list[Any]:
        """A row's kernels, biases and slopes, in its order, each as a vector: XLA's loops over them have no edges."""
        return list(tf.split(row, [math.prod(shape) for shape in self._shapes]))

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        dims, slopes = self.layout.dims, [(self.layout.width,)] * self.layout.slopes
        hidden = [shape for pair in itertools.pairwise(dims[:-1]) for shape in (pair, pair[1:], *slopes)]
        return [*hidden, tuple(dims[-2:]), tuple(dims[-1:])]

    def _outputs(self, arrays: Sequence[Any], h: Any, dropout: Any, seed: Any) -> Any:
        """What the last layer answers to `h` (B, D) before softmax or scaling, (B, O)."""
        activation = ACTIVATIONS[self.activation]
        given = iter(arrays)
        for place in range(self.layout.depth):
            z = tf.matmul(h, next(given)) + next(given)
            h = activation.of(z) if activation else prelu(z, next(given))
            h = dropped(h, uniform(tf.shape(h), seed_of(seed, place)), dropout)
        return tf.matmul(h, next(given)) + next(given)

    def _penalty(self, arrays: Sequence[Any], l1: Any, l2: Any) -> Any:
        """Of the hidden kernels, as in networks.py."""
        kernels = [array for array in arrays if len(array.shape) == 2][:-1]
        # By columns first: XLA adds up an axis beside which others lie in vectors, a whole array number by number.
        columns = [tf.reduce_sum(l1 * tf.abs(kernel) + l2 * tf.square(kernel), 0) for kernel in kernels]
        return tf.add_n([tf.reduce_sum(column) for column in columns])


_FUNCTIONS: dict[_Structure, Any] = {}


def compiled(layout: Layout, activation: str, optimizer: str, loss: Loss, batch: int, rows: int) -> Any | None:
    """`_Structure.train` as one function for members of this structure; its first call compiles it.

    None where there are `MOST` others. `rows`: of the data.
    """
    structure = _Structure(layout, activation, optimizer, loss, batch, rows)
    if structure not in _FUNCTIONS and len(_FUNCTIONS) < MOST:
        _FUNCTIONS[structure] = tf.function(structure.train, autograph=False, jit_compile=True)
    return _FUNCTIONS.get(structure)
