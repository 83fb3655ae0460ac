"""What Keras' optimizers do to weights, as pure functions over the rows of a stack.

Each is `update_step` of the optimizer of that name in Keras 3.15, operation for operation: the rows of a stack follow
what `fit` would do, to rounding. What an optimizer keeps per weight are its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Slots = tuple[Any, ...]
NOTHING: Slots = ()
Settings = Mapping[str, Any]
"""An optimizer's arguments by Keras' names: Python values, or float64 (K, 1) where members may differ.

They come in float64 because Keras computes `1 - beta` in Python before it rounds: in float32, 1 - 0.999 is 1e-5 off.
"""
Rule = Callable[[Any, Any, Slots, Settings, Any], tuple[Any, Slots]]
"""(weights (K, P), gradients (K, P), slots, settings, steps done so far) -> new weights and slots."""


def sgd(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    rate, momentum = _single(settings["learning_rate"]), _single(settings["momentum"])
    speed = slots[0] * momentum - g * rate
    return w + (speed * momentum - g * rate if settings["nesterov"] else speed), (speed,)


def rmsprop(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    squares = _average(slots[0], tf.square(g), settings["rho"])
    below, more = squares, NOTHING
    if settings["centered"]:
        mean = _average(slots[2], g, settings["rho"])
        below, more = squares - tf.square(mean), (mean,)
    change = _single(settings["learning_rate"]) * g / tf.sqrt(below + _single(settings["epsilon"]))
    speed = _single(settings["momentum"]) * slots[1] + change
    return w - speed, (squares, speed, *more)


def adagrad(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    total = slots[0] + tf.square(g)
    return w - _single(settings["learning_rate"]) * g / tf.sqrt(total + _single(settings["epsilon"])), (total,)


def adadelta(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    epsilon = _single(settings["epsilon"])
    squares = _average(slots[0], tf.square(g), settings["rho"])
    change = -(tf.sqrt(slots[1] + epsilon) * g / tf.sqrt(squares + epsilon))
    changes = _average(slots[1], tf.square(change), settings["rho"])
    return w + _single(settings["learning_rate"]) * change, (squares, changes)


def adam(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:
    beta_1, beta_2 = settings["beta_1"], settings["beta_2"]
    first, second = _power(beta_1, step + 1), _power(beta_2, step + 1)
    alpha = _single(settings["learning_rate"]) * tf.sqrt(1 - second) / (1 - first)
    mean = slots[0] + (g - slots[0]) * _single(1 - beta_1)
    squares = slots[1] + (tf.square(g) - slots[1]) * _single(1 - beta_2)
    below, more = squares, NOTHING
    if settings["amsgrad"]:
        below = tf.maximum(slots[2], squares)
        more = (below,)
    return w - mean * alpha / (tf.sqrt(below) + _single(settings["epsilon"])), (mean, squares, *more)


def nadam(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:
    """The third slot is one number per member: the product of the momentum's schedule so far."""
    beta_1, beta_2 = _single(settings["beta_1"]), _single(settings["beta_2"])
    now, after = (beta_1 * (1 - 0.5 * _power(0.96, step + later)) for later in (1, 2))
    product = slots[2] * now
    mean = slots[0] + (g - slots[0]) * (1 - beta_1)
    squares = slots[1] + (tf.square(g) - slots[1]) * (1 - beta_2)
    ahead = after * mean / (1 - product * after) + (1 - now) * g / (1 - product)
    size = tf.sqrt(squares / (1 - _power(settings["beta_2"], step + 1))) + _single(settings["epsilon"])
    return w - ahead * _single(settings["learning_rate"]) / size, (mean, squares, product)


def adamax(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:
    mean = slots[0] + (g - slots[0]) * _single(1 - settings["beta_1"])
    largest = tf.maximum(_single(settings["beta_2"]) * slots[1], tf.abs(g))
    below = (1 - _power(settings["beta_1"], step + 1)) * (largest + _single(settings["epsilon"]))
    return w - _single(settings["learning_rate"]) * mean / below, (mean, largest)


def ftrl(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    rate, power = _single(settings["learning_rate"]), -settings["learning_rate_power"]
    l1 = settings["l1_regularization_strength"]
    l2 = settings["l2_regularization_strength"] + settings["beta"] / (2.0 * rate)
    total = slots[0] + tf.square(g)
    new, old = (tf.sqrt(item) if power == 0.5 else tf.pow(item, power) for item in (total, slots[0]))
    linear = slots[1] + (g + 2 * settings["l2_shrinkage_regularization_strength"] * w) - (new - old) / rate * w
    return (tf.clip_by_value(linear, -l1, l1) - linear) / (new / rate + 2 * l2), (total, linear)


def lion(w: Any, g: Any, slots: Slots, settings: Settings, step: Any) -> tuple[Any, Slots]:  # noqa: ARG001
    beta_1, beta_2 = _single(settings["beta_1"]), _single(settings["beta_2"])
    turned = w - _single(settings["learning_rate"]) * tf.sign(slots[0] * beta_1 + g * (1 - beta_1))
    return turned, (slots[0] * beta_2 + g * (1 - beta_2),)


def clipped(g: Any, settings: Settings, sizes: Sequence[int]) -> Any:
    """The gradients as Keras clips them before the step of any optimizer; a limit of 0 is none.

    `sizes`: of the weights that stand one after another in a row, because `clipnorm` looks at each by itself.
    """
    if settings["clipnorm"] is not None:
        limit = _single(settings["clipnorm"])
        within = [block * limit / tf.maximum(_norm(block), limit) for block in tf.split(g, sizes, axis=1)]
        return tf.where(limit > 0, tf.concat(within, 1), g)
    if settings["global_clipnorm"] is not None:
        limit, norm = _single(settings["global_clipnorm"]), _norm(g)
        # Where the norm is not finite Keras makes everything NaN, and so ends the trial.
        return tf.where(limit > 0, g * (limit / tf.maximum(norm, limit)) + (norm - norm), g)
    if settings["clipvalue"] is not None:
        limit = _single(settings["clipvalue"])
        return tf.where(limit > 0, tf.minimum(tf.maximum(g, -limit), limit), g)
    return g


def decayed(w: Any, settings: Settings) -> Any:
    """The weights after Keras' decoupled weight decay, which comes before the step of any optimizer."""
    return w - w * _single(settings["weight_decay"]) * _single(settings["learning_rate"])


@dataclass(frozen=True)
class Update:
    """An optimizer's rule and its slots before the first step: their value and whether there is one per weight."""

    rule: Rule
    first: Callable[[Settings], tuple[float, ...]]
    scalars: int = 0  # of the last slots, how many are one number per member

    def slots(self, weights: Any, settings: Settings) -> Slots:
        """The slots before the first step, of one member's weights (P,)."""
        values = self.first(settings)
        wide = len(values) - self.scalars
        return tuple(tf.fill(tf.shape(weights) if n < wide else [1], float(value)) for n, value in enumerate(values))


UPDATES = {
    "SGD": Update(sgd, lambda _: (0.0,)),
    "RMSprop": Update(rmsprop, lambda settings: (0.0,) * (3 if settings["centered"] else 2)),
    "Adagrad": Update(adagrad, lambda settings: (settings["initial_accumulator_value"],)),
    "Adadelta": Update(adadelta, lambda _: (0.0, 0.0)),
    "Adam": Update(adam, lambda settings: (0.0,) * (3 if settings["amsgrad"] else 2)),
    "AdamW": Update(adam, lambda settings: (0.0,) * (3 if settings["amsgrad"] else 2)),
    "Nadam": Update(nadam, lambda _: (0.0, 0.0, 1.0), scalars=1),
    "Adamax": Update(adamax, lambda _: (0.0, 0.0)),
    "Ftrl": Update(ftrl, lambda settings: (settings["initial_accumulator_value"], 0.0)),
    "Lion": Update(lion, lambda _: (0.0,)),
}
"""By the names of Keras' classes."""


def _norm(g: Any) -> Any:
    return tf.sqrt(tf.reduce_sum(tf.square(g), 1, keepdims=True))


def _single(value: Any) -> Any:
    return tf.cast(value, tf.float32)


def _power(base: Any, exponent: Any) -> Any:
    return tf.pow(_single(base), tf.cast(exponent, tf.float32))


def _average(old: Any, new: Any, rho: Any) -> Any:
    return _single(rho) * old + _single(1 - rho) * new
