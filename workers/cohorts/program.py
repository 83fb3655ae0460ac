"""An epoch of a stack of the `mlp` family as one compiled function: it loops over the batches inside the graph.

The functions are traced with shapes left open, and activation and optimizer are chosen inside (`tf.switch_case`), so
that one trace per loss serves every depth, width, batch size, activation, optimizer and number of members. Members see
the same batches in the same order and the same draws of noise, which their own dropout rates cut: comparisons are
paired.

A row of `hyper` is (learning rate, L1, L2, dropout rate) of a member.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import tensorflow as tf

from workers.cohorts.networks import Shape, gradients, outputs, penalties
from workers.cohorts.updates import UPDATES, Settings, Slots, decayed
from workers.trials import models

EVALUATION_ROWS = 512  # rows per batch of an evaluation: the sums do not depend on it
SUMS = 4  # per member: data loss, penalty and metric, each times the rows it was averaged over, and these rows

Loss = Literal["sparse", "one_hot", "squared"]

_F, _I, _N = tf.float32, tf.int32, tf.int64
_ROWS, _HYPER = tf.TensorSpec([None, None], _F), tf.TensorSpec([None, None], tf.float64)


@dataclass(frozen=True)
class Program:
    """The two functions of one loss."""

    train: Any
    evaluate: Any


@cache
def program(loss: Loss) -> Program:
    """Trace nothing yet; the first call of each function does, in 1 to 2 CPU-seconds together."""
    epoch = _Epoch(loss)
    y = tf.TensorSpec([None], _N) if loss == "sparse" else _ROWS
    scalar, order = tf.TensorSpec([], _I), tf.TensorSpec([None], _N)
    data = [_ROWS, y, tf.TensorSpec([None], _F)]
    common = [_ROWS, _HYPER, tf.TensorSpec([6], _I), *[tf.TensorSpec([None], _F)] * 2, *data]
    training = [(_ROWS, _ROWS), order, *[scalar] * 3, tf.TensorSpec([], _N), _ROWS]
    compiled = tf.function(epoch.train, autograph=False, input_signature=[*common, *training])
    return Program(compiled, tf.function(epoch.evaluate, autograph=False, input_signature=common))


class _Epoch:
    """An epoch of a stack.

    K members, P weights each, D inputs, O outputs, B rows. `weights` (K, P), `hyper` (K, 4), `shape` (6,) the fields of
    networks.Shape, `offset` and `scale` of the outputs (O,), `x` (B, D), `y` (B,) or (B, O), `row_weight` (B,).
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def train(
        self, weights: Any, hyper: Any, shape: Any, offset: Any, scale: Any, x: Any, y: Any,
        row_weight: Any, slots: Any, order: Any, batch: Any, optimizer: Any, done: Any, seed: Any, sums: Any,
    ) -> tuple[Any, Any, Any]:  # fmt: skip
        """Train on the rows in `order`, `batch` of them at a time. Returns weights, slots and sums (K, SUMS).

        `done`: steps that the members have made before. `seed`: of the dropout.
        """
        rates, shape = hyper[:, :1], Shape.of(shape)
        numbers = [tf.cast(hyper[:, column], _F)[:, None, None] for column in (1, 2, 3)]
        total = tf.shape(order)[0]

        def body(step: Any, weights: Any, slots: Any, sums: Any) -> Any:
            # The last batch is filled up with rows that do not count: oneDNN keeps kernels for each number of rows.
            places = step * batch + tf.range(tf.minimum(batch, total))
            counted = tf.cast(places < total, _F)
            rows = tf.gather(order, tf.minimum(places, total - 1))
            inputs, targets, weighted = tf.gather(x, rows), tf.gather(y, rows), tf.gather(row_weight, rows)
            noise = tf.stack([seed, tf.cast(done + step, _N)])
            scores = partial(
                scored, self._loss, y=targets, row_weight=weighted, counted=counted, offset=offset, scale=scale
            )
            losses, penalty, metric, slope = gradients(weights, shape, numbers, inputs, noise, scores)
            weights, slots = _stepped(optimizer, weights, slope, slots, rates, done + step)
            return step + 1, weights, slots, sums + tf.reduce_sum(counted) * with_ones(losses, penalty, metric)

        start = (0, weights, slots, sums)
        _, *trained = tf.while_loop(lambda step, *_: step * batch < total, body, start, parallel_iterations=1)
        return tuple(trained)

    def evaluate(
        self, weights: Any, hyper: Any, shape: Any, offset: Any, scale: Any, x: Any, y: Any,
        row_weight: Any,
    ) -> Any:  # fmt: skip
        """The sums (K, SUMS) over all rows."""
        hyper, shape, rows = tf.cast(hyper, _F), Shape.of(shape), tf.shape(x)[0]
        penalty = penalties(weights, shape, hyper[:, 1:2], hyper[:, 2:3])

        def body(step: Any, sums: Any) -> Any:
            taken = slice(step * EVALUATION_ROWS, (step + 1) * EVALUATION_ROWS)
            out, counted = outputs(weights, shape, x[taken]), tf.ones_like(row_weight[taken])
            losses, metric = scored(self._loss, out, y[taken], row_weight[taken], counted, offset, scale)
            return step + 1, sums + tf.reduce_sum(counted) * with_ones(losses, penalty, metric)

        sums = tf.zeros([tf.shape(weights)[0], SUMS])
        begun = (0, sums)
        return tf.while_loop(lambda step, _: step * EVALUATION_ROWS < rows, body, begun, parallel_iterations=1)[1]


def scored(loss: Loss, out: Any, y: Any, row_weight: Any, counted: Any, offset: Any, scale: Any) -> tuple[Any, Any]:
    """The data loss as Keras averages it over a batch, and accuracy or absolute error, each (K,), of `out` (K, B, O).

    `counted` (B,): 1 for the rows of the batch, 0 for others.
    """
    if loss == "squared":
        answer = out * scale + offset
        error = tf.reduce_mean(tf.square(answer - y), -1) / tf.reduce_mean(tf.square(scale))
        metric = tf.reduce_mean(tf.abs(answer - y), -1)
    else:
        spread = [tf.shape(out)[0], tf.shape(out)[1]]
        classes = y if loss == "sparse" else tf.argmax(y, -1)
        metric = tf.cast(tf.equal(tf.argmax(out, -1), classes), _F)
        if loss == "sparse":
            error = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.broadcast_to(y, spread), out)
        else:
            error = tf.nn.softmax_cross_entropy_with_logits(tf.broadcast_to(y, tf.shape(out)), out)
    share = counted / tf.reduce_sum(counted)
    return tf.reduce_sum(error * (row_weight * share), -1), tf.reduce_sum(metric * share, -1)


def with_ones(*columns: Any) -> Any:
    """The columns (K,) and one of ones, (K, columns + 1)."""
    return tf.stack([*columns, tf.ones_like(columns[0])], 1)


def _bound(function: Any, *arguments: Any) -> Any:
    return lambda: function(*arguments)


@cache
def settings_of(optimizer: str) -> Settings:
    """What Keras gives the optimizer of that name in the `mlp` space, and the name of its class."""
    with tf.init_scope():  # it may be asked for while a program is traced
        made = models.OPTIMIZERS[optimizer](1e-3)
        return {**made.get_config(), "class": type(made).__name__}


def updated(optimizer: str, w: Any, g: Any, slots: Slots, rates: Any, step: Any) -> tuple[Any, Slots]:
    """A step of an optimizer. Each gets by with two slots, so that one program can choose among them."""
    settings = {**settings_of(optimizer), "learning_rate": rates}
    if settings["weight_decay"] is not None:
        w = decayed(w, settings)
    w, new = UPDATES[settings["class"]].rule(w, g, slots, settings, step)
    return w, (*new, *slots[len(new) :])


@tf.function(
    autograph=False,
    input_signature=[tf.TensorSpec([], _I), _ROWS, _ROWS, (_ROWS, _ROWS), _HYPER, tf.TensorSpec([], _I)],
)
def _stepped(optimizer: Any, w: Any, g: Any, slots: Slots, rates: Any, step: Any) -> Any:
    """New weights and slots."""
    return tf.switch_case(optimizer, [_bound(updated, name, w, g, slots, rates, step) for name in models.OPTIMIZERS])


def first_slots(optimizer: str, weights: Any) -> Slots:
    """The two slots before the first step, shaped like the weights."""
    settings = settings_of(optimizer)
    made = UPDATES[settings["class"]].slots(weights, settings)
    return (*made, *[tf.zeros_like(weights)] * (2 - len(made)))
