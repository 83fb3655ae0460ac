"""An epoch of a stack of Keras models as one compiled function: it loops over the batches inside the graph.

The members' models have one structure, so one model, the pattern, computes for all: its variables are replaced by a
member's numbers while it is called. Where every operation has a vectorized form, all members are computed at once
(`tf.vectorized_map`); where one has none, as convolutions and recurrent layers, one member is computed at a time, which
still spares it a trace of its own. The gradient of the sum of the members' losses is each member's own gradient.

K members, W weights each, the first P of them trained. `weights` (K, W), `hyper` (K, H) as columns.Columns has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.ops.parallel_for.pfor import RegisterPFor, wrap

from workers.cohorts.columns import Numbers, columns
from workers.cohorts.constraints import constrained
from workers.cohorts.noise import common_noise
from workers.cohorts.optimizers import settings_at
from workers.cohorts.penalties import own_activities, penalized, penalty
from workers.cohorts.structure import Rows
from workers.cohorts.updates import UPDATES, clipped, decayed
from workers.failures import CannotStack

_F, _N = tf.float32, tf.int64


class LiftedProgram:
    """The arithmetic of one pattern. Its functions are to be compiled with the number of members left open."""

    def __init__(self, pattern: keras.Model, vectorized: bool) -> None:
        """`pattern`: a compiled model whose weights and metrics exist."""
        self._model, self._vectorized = pattern, vectorized
        self.columns = columns(pattern)
        self.lifted = sum(self.columns.sizes)
        self.settings = pattern.optimizer.get_config()
        self._update = UPDATES[type(pattern.optimizer).__name__]
        self._trained, self._fixed = pattern.trainable_weights, pattern.non_trainable_weights
        self._counted = pattern._compile_metrics.variables if pattern._compile_metrics is not None else []
        counts = [np.asarray(variable, "float32").ravel() for variable in self._counted]
        self._zero = np.concatenate([np.zeros(3, "float32"), *counts])  # most metrics begin with 0, but not all
        self._sizes = list(map(_size, self._trained))
        self.trained = sum(self._sizes)

    def slots(self, weights: Any) -> Rows:
        """The optimizer's slots before the first step, of one member's weights (W,)."""
        return self._update.slots(weights[: self.trained], self.settings)

    def begin(self, members: int) -> Any:
        """What an epoch adds up (K, 3 + ...): data loss and penalty, times rows; rows; and what the metrics count."""
        return tf.tile(tf.constant(self._zero)[None], [members, 1])

    def train(
        self, rows: Rows, hyper: Any, data: Any, order: Any, batch: Any, done: Any, seed: Any, sums: Any
    ) -> tuple[Rows, Any]:
        """Train on the rows in `order`, `batch` of them at a time; `data`: what `fit` takes, as tensors.

        `done`: steps that the members have made before. `seed`: of the noise.
        """
        numbers, batches = self.columns.split(hyper), (tf.shape(order)[0] + batch - 1) // batch
        strengths = (
            self._per_number(numbers.l1),
            self._per_number(numbers.l2),
            tf.reduce_any(numbers.l1 + numbers.l2 > 0),
        )

        def body(step: Any, trained: Any, fixed: Any, slots: Any, sums: Any) -> Any:
            chosen = order[step * batch : (step + 1) * batch]
            taken = tf.nest.map_structure(lambda array: tf.gather(array, chosen), data)
            noise = tf.stack([seed, tf.cast(done + step, _N)])
            parts = self._parts(trained, self._trained)
            with tf.GradientTape() as tape:
                tape.watch(parts)
                losses, added, fixed, counts = self._members(parts, fixed, sums[:, 3:], taken, numbers, noise)
                total = tf.reduce_sum(losses + added)
            gradients = tape.gradient(total, parts, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            flat = self._joined(map(tf.convert_to_tensor, gradients))
            of_weights, flat = penalized(trained, flat, *strengths)
            trained, slots = self._step(trained, flat, slots, numbers, done + step)
            sums = _added(sums, tf.shape(chosen)[0], losses, of_weights + added, counts)
            return step + 1, trained, fixed, slots, sums

        start = (0, rows[0][:, : self.trained], rows[0][:, self.trained :], tuple(rows[1:]), sums)
        ended = tf.while_loop(lambda step, *_: step < batches, body, start, parallel_iterations=1)
        _, trained, fixed, slots, sums = ended
        return (tf.concat([trained, fixed], 1), *slots), sums

    def evaluate(self, weights: Any, hyper: Any, data: Any, batch: Any, sums: Any) -> Any:
        """Evaluate on `data` in batches; new sums."""
        rows = tf.shape(tf.nest.flatten(data)[0])[0]
        numbers = self.columns.split(hyper)
        parts, fixed = self._parts(weights[:, : self.trained], self._trained), weights[:, self.trained :]
        of_weights = penalty(weights[:, : self.trained], self._per_number(numbers.l1), self._per_number(numbers.l2))

        def body(step: Any, sums: Any) -> Any:
            taken = tf.nest.map_structure(lambda array: array[step * batch : (step + 1) * batch], data)
            losses, added, _, counts = self._members(parts, fixed, sums[:, 3:], taken, numbers, None)
            count = tf.shape(tf.nest.flatten(taken)[0])[0]
            return step + 1, _added(sums, count, losses, of_weights + added, counts)

        batches = (rows + batch - 1) // batch
        return tf.while_loop(lambda step, _: step < batches, body, (0, sums), parallel_iterations=1)[1]

    def _members(
        self, parts: Any, fixed: Any, counts: Any, taken: Any, numbers: Numbers, seed: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Of each member its data loss and what layers add to it (K,), its untrained weights and its metrics' counts.

        `seed`: of the batch's noise; None: evaluate.
        """

        def member(given: Any) -> tuple[Any, Any, Any, Any]:
            parts, fixed, counts, noise, activity = given
            states = [*zip(self._trained, parts, strict=True), *_unflat(self._fixed, fixed)]
            states += _unflat(self._counted, counts)
            with keras.StatelessScope(states, collect_losses=True) as scope, own_activities(self._model, activity):
                loss = self._loss(taken, noise, seed)
            added = tf.add_n([tf.zeros([]), *(tf.cast(tf.reduce_sum(item), _F) for item in scope.losses)])
            return loss, added, _flat(self._fixed, scope), _flat(self._counted, scope)

        given = (parts, fixed, counts, numbers.noise, numbers.activity)
        if self._vectorized:
            done: tuple[Any, Any, Any, Any] = tf.vectorized_map(member, given, fallback_to_while_loop=False)
            return done
        loss, added, fixed, counts = member(tf.nest.map_structure(lambda item: tf.squeeze(item, [0]), given))
        return loss[None], added[None], fixed[None], counts[None]

    def _loss(self, taken: Any, rates: Any, seed: Any) -> Any:
        model, training = self._model, seed is not None
        x, y, weight = (*taken, None) if len(taken) == 2 else taken
        with common_noise(model, tf.unstack(rates, num=self.columns.noise), seed) if training else nullcontext():
            answer = model(x, training=training) if model._call_has_training_arg else model(x)
        if len(tf.nest.flatten(answer)) > 1:
            raise CannotStack("the model has several outputs")
        if model._compile_metrics is not None:
            model._compile_metrics.update_state(y, answer, weight)
        return tf.cast(model._compile_loss(y, answer, weight), _F)

    def _step(self, weights: Any, gradients: Any, slots: Rows, numbers: Numbers, done: Any) -> tuple[Any, Rows]:
        settings = settings_at(self.settings, numbers.optimizer, done)
        gradients = clipped(gradients, settings, self._sizes)
        if settings["weight_decay"] is not None:
            weights = decayed(weights, settings)
        weights, slots = self._update.rule(weights, gradients, slots, settings, done)
        if any(weight.constraint is not None for weight in self._trained):
            parts = self._parts(weights, self._trained)
            weights = self._joined(constrained(self._trained, parts, numbers.bounds))
        return weights, slots

    def _parts(self, flat: Any, variables: Sequence[Any]) -> list[Any]:
        """The numbers (K, P) as one tensor (K, ...) per variable."""
        blocks = tf.split(flat, [_size(variable) for variable in variables], axis=1)
        shaped = zip(variables, blocks, strict=True)
        return [tf.reshape(block, [tf.shape(flat)[0], *variable.shape]) for variable, block in shaped]

    def _joined(self, parts: Iterable[Any]) -> Any:
        """One tensor (K, ...) per trained variable as the numbers (K, P)."""
        sized = zip(parts, self._sizes, strict=True)
        return tf.concat([tf.reshape(part, [tf.shape(part)[0], size]) for part, size in sized], 1)

    def _per_number(self, per_weight: Any) -> Any:
        """A strength per variable (K, variables) as one per number (K, P)."""
        members, columns = tf.shape(per_weight)[0], tf.split(per_weight, len(self._sizes), axis=1)
        sized = zip(columns, self._sizes, strict=True)
        return tf.concat([tf.broadcast_to(column, [members, size]) for column, size in sized], 1)

    def results(self, sums: Any) -> tuple[Any, dict[str, Any]]:
        """Data loss and penalty (K, 2), and by name what the metrics have come to (K,)."""
        metrics, scores = self._model._compile_metrics, sums[:, :2] / sums[:, 2:3]
        if metrics is None:
            return scores, {}

        def member(counts: Any) -> Any:
            with keras.StatelessScope(_unflat(self._counted, counts)):
                return {name: value for name, value in metrics.result().items() if len(value.shape) == 0}

        if self._vectorized:
            return scores, tf.vectorized_map(member, sums[:, 3:])
        return scores, {name: value[None] for name, value in member(sums[0, 3:]).items()}


def _added(sums: Any, rows: Any, losses: Any, penalties: Any, counts: Any) -> Any:
    """The sums of an epoch with those of a batch of `rows` rows, whose `counts` go on from the last ones."""
    scores = tf.cast(rows, _F) * tf.stack([losses, penalties, tf.ones_like(losses)], 1)
    return tf.concat([sums[:, :3] + scores, counts], 1)


def _size(variable: Any) -> int:
    return math.prod(variable.shape)


def _unflat(variables: Sequence[Any], flat: Any) -> list[tuple[Any, Any]]:
    """Each variable with its part of the numbers (N,)."""
    parts = tf.split(flat, [_size(variable) for variable in variables]) if variables else []
    shaped = zip(variables, parts, strict=True)
    return [(variable, tf.cast(tf.reshape(part, variable.shape), variable.dtype)) for variable, part in shaped]


def _flat(variables: Sequence[Any], scope: keras.StatelessScope) -> Any:
    """What the variables are at the end of a call (N,)."""
    values = [tf.reshape(tf.cast(scope.get_current_value(variable), _F), [-1]) for variable in variables]
    return tf.concat([tf.zeros([0]), *values], 0)


@RegisterPFor("Bitcast")
def _bitcast(given: Any) -> Any:
    """What TensorFlow lacks to vectorize `keras.ops.argmax`, and so accuracy. Keras casts between equal widths."""
    return wrap(tf.bitcast(given.stacked_input(0), given.get_attr("type")), True)
