"""L1 and L2, of weights and of what layers answer, each member with strengths of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.kinds import active_layers, is_keras
from workers.failures import CannotStack

_KNOWN = {"L1", "L2", "L1L2"}


def strengths(regularizer: Any, place: str) -> tuple[float, float]:
    """L1 and L2 of a regularizer, 0 without one. `place`: whose it is, for people. Raises CannotStack for others."""
    if regularizer is None:
        return 0.0, 0.0
    if not is_keras(regularizer) or type(regularizer).__name__ not in _KNOWN:
        raise CannotStack(f"{place} has a regularizer other than L1 and L2")
    return float(getattr(regularizer, "l1", 0.0)), float(getattr(regularizer, "l2", 0.0))


def penalty(weights: Any, l1: Any, l2: Any) -> Any:
    """Penalty of each member (K,); strengths (K, P). As in Keras: l2 * sum(w^2)."""
    return tf.reduce_sum(l1 * tf.abs(weights), 1) + tf.reduce_sum(l2 * tf.square(weights), 1)


def penalized(weights: Any, gradients: Any, l1: Any, l2: Any, some: Any) -> tuple[Any, Any]:
    """Penalty of each member (K,), and the gradients (K, P) with its slope. `some`: whether a strength is not 0."""
    value, changed = tf.cond(
        some,
        lambda: (penalty(weights, l1, l2), gradients + l1 * tf.sign(weights) + 2 * l2 * weights),
        lambda: (tf.zeros_like(weights[:, 0]), gradients),
    )
    return value, changed


@contextmanager
def own_activities(model: keras.Model, own: Any) -> Iterator[None]:
    """Let the layers penalize their answers by a member's own strengths, (layers, 2) in their order: L1 and L2."""
    layers = active_layers(model)
    kept = [layer.activity_regularizer for layer in layers]
    for place, layer in enumerate(layers):
        layer.activity_regularizer = _of(own[place, 0], own[place, 1])
    try:
        yield
    finally:
        for layer, regularizer in zip(layers, kept, strict=True):
            layer.activity_regularizer = regularizer


def _of(l1: Any, l2: Any) -> Callable[[Any], Any]:
    return lambda answer: l1 * tf.reduce_sum(tf.abs(answer)) + l2 * tf.reduce_sum(tf.square(answer))
