"""What Keras' constraints make of weights after a step, each member with bounds of its own.

MaxNorm, UnitNorm and MinMaxNorm are one rule: norms along some axes are brought between a lowest and a highest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.kinds import is_keras
from workers.failures import CannotStack

NORMS: dict[str, Callable[[Any], tuple[float, float, float]]] = {
    "MaxNorm": lambda given: (0.0, given.max_value, 1.0),
    "UnitNorm": lambda _: (1.0, 1.0, 1.0),
    "MinMaxNorm": lambda given: (given.min_value, given.max_value, given.rate),
}
"""By the names of Keras' classes: the lowest norm, the highest one, and how far a step brings a norm there."""

NUMBERS = {"MaxNorm": ("max_value",), "MinMaxNorm": ("min_value", "max_value", "rate")}
"""The arguments in which members may differ, by the names of Keras' classes."""


def bounds(weights: Sequence[Any]) -> list[tuple[float, float, float]]:
    """Of each weight whose norm is bounded its three numbers, see `NORMS`.

    Raises:
        CannotStack: a weight has a constraint that is not one of Keras'.
    """
    found = []
    for weight in weights:
        name = type(weight.constraint).__name__
        if weight.constraint is None or (is_keras(weight.constraint) and name == "NonNeg"):
            continue
        if not is_keras(weight.constraint) or name not in NORMS:
            raise CannotStack(f"the weight {weight.path} has a constraint that is not one of Keras'")
        found.append(NORMS[name](weight.constraint))
    return found


def constrained(weights: Sequence[Any], parts: Sequence[Any], own: Any) -> list[Any]:
    """`parts` (K, ...), the numbers of the weights, as constraints leave them. `own`: the members' bounds (K, N, 3)."""
    done, place = [], 0
    for weight, part in zip(weights, parts, strict=True):
        if weight.constraint is None:
            done.append(part)
        elif type(weight.constraint).__name__ in NORMS:
            done.append(_bounded(part, weight.constraint, own[:, place]))
            place += 1
        else:
            done.append(tf.maximum(part, 0.0))
    return done


def _bounded(part: Any, constraint: Any, own: Any) -> Any:
    rank = len(part.shape)
    axes = range(rank - 1) if constraint.axis is None else tf.nest.flatten(constraint.axis)
    axes = [axis + 1 if axis >= 0 else axis for axis in axes]  # the members stand before a weight's own axes
    lowest, highest, rate = (tf.reshape(own[:, number], [-1, *[1] * (rank - 1)]) for number in range(3))
    norms = tf.sqrt(tf.reduce_sum(tf.square(part), axes, keepdims=True))
    wanted = rate * tf.minimum(tf.maximum(norms, lowest), highest) + (1 - rate) * norms
    return part * (wanted / (keras.config.epsilon() + norms))
