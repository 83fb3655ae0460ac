"""What Keras' optimizers do to weights, as pure functions over the rows of a stack.

Each is `update_step` of the optimizer of that name in Keras 3.15 with its defaults, operation for operation: the rows
of a stack follow what `fit` would do, to rounding. Every optimizer gets by with two numbers per weight (its slots).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

EPSILON = 1e-7
MOMENTUM = 0.9
ADAGRAD_START = FTRL_START = 0.1
RMSPROP_RHO, ADADELTA_RHO = 0.9, 0.95
BETA_1, BETA_2 = 0.9, 0.999
ADAMW_DECAY = 0.004

Slots = tuple[Any, Any]
Update = Callable[[Any, Any, Slots, Any, Any], tuple[Any, Slots]]
"""(weights (K, P), gradients (K, P), slots, learning rates (K, 1), steps done so far) -> new weights and slots."""


def sgd(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    return w - g * rate, slots


def momentum(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    speed = slots[0] * MOMENTUM - g * rate
    return w + speed, (speed, slots[1])


def adagrad(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    total = slots[0] + tf.square(g)
    return w - rate * g / tf.sqrt(total + EPSILON), (total, slots[1])


def adadelta(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    squares = ADADELTA_RHO * slots[0] + (1 - ADADELTA_RHO) * tf.square(g)
    change = -(tf.sqrt(slots[1] + EPSILON) * g / tf.sqrt(squares + EPSILON))
    return w + rate * change, (squares, ADADELTA_RHO * slots[1] + (1 - ADADELTA_RHO) * tf.square(change))


def rmsprop(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    squares = RMSPROP_RHO * slots[0] + (1 - RMSPROP_RHO) * tf.square(g)
    return w - rate * g / tf.sqrt(squares + EPSILON), (squares, slots[1])


def adam(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
    done = tf.cast(step + 1, w.dtype)
    alpha = rate * tf.sqrt(1 - tf.pow(BETA_2, done)) / (1 - tf.pow(BETA_1, done))
    mean = slots[0] + (g - slots[0]) * (1 - BETA_1)
    squares = slots[1] + (tf.square(g) - slots[1]) * (1 - BETA_2)
    return w - mean * alpha / (tf.sqrt(squares) + EPSILON), (mean, squares)


def ftrl(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    total = slots[0] + tf.square(g)
    linear = slots[1] + g - (tf.sqrt(total) - tf.sqrt(slots[0])) / rate * w
    return -linear / (tf.sqrt(total) / rate), (total, linear)


def adamw(w: Any, g: Any, slots: Slots, rate: Any, step: Any) -> tuple[Any, Slots]:
    return adam(w - w * ADAMW_DECAY * rate, g, slots, rate, step)


UPDATES: dict[str, Update] = {
    "sgd": sgd,
    "momentum": momentum,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "ftrl": ftrl,
    "adamw": adamw,
}
"""By the names of `workers.models.OPTIMIZERS`; a test holds that both have the same ones."""


def first_slots(optimizer: str, weights: tf.Tensor) -> Slots:
    """The slots before the first step, shaped like the weights."""
    start = {"adagrad": ADAGRAD_START, "ftrl": FTRL_START}.get(optimizer, 0.0)
    return tf.fill(tf.shape(weights), start), tf.zeros_like(weights)
