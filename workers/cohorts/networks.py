"""Networks of the `mlp` family, a stack of them at once: what they answer, and how their losses slope by the weights.

The hidden layers behind the first one are alike, so that loops pass them, forwards and backwards: one graph is that of
every depth. The way back is written by hand, because TensorFlow's own gradient of a loop adds up the gradients of all
weights in each turn. What is chosen among many (`_activated`, `_bent`) is a function of its own, so that it is traced
once in a process.

K members, P weights each, D inputs, W units of a hidden layer, O outputs, B rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.noise import kept

ACTIVATIONS: dict[str, Any] = {
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "relu": tf.nn.relu,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.3),  # the slope of keras.layers.LeakyReLU
    "prelu": None,  # has weights of its own, see `_function`
    "elu": tf.nn.elu,
    "gelu": keras.activations.gelu,
    "softplus": tf.nn.softplus,
}
"""By the names of the `mlp` space; a test holds that both have the same ones."""

_STACK = tf.TensorSpec([None, None, None], tf.float32)
_CHOICE = tf.TensorSpec([], tf.int32)


@dataclass(frozen=True)
class Shape:
    """Of all networks of a stack; scalar tensors of int32."""

    inputs: Any
    width: Any  # units of each hidden layer
    outputs: Any
    depth: Any  # hidden layers, at least 1
    slopes: Any  # numbers of a hidden layer's own slopes: `width` for prelu, else 0
    activation: Any  # its place in ACTIVATIONS

    @classmethod
    def of(cls, numbers: Any) -> Shape:
        """From one tensor of them, int32 (6,)."""
        return cls(*tf.unstack(numbers, num=6))


def outputs(weights: Any, shape: Shape, x: Any) -> Any:
    """What the last layers answer to `x` (B, D) before softmax or scaling, (K, B, O)."""

    def layer(place: Any, h: Any, inputs: Any) -> Any:
        kernel, bias, slopes = _hidden(weights, shape, place, inputs)
        return _activated(shape.activation, tf.matmul(h, kernel) + bias, slopes)

    def body(place: Any, h: Any) -> Any:
        return place + 1, layer(place, h, shape.width)

    first = layer(0, _spread(x, weights), shape.inputs)
    _, h = tf.while_loop(lambda place, _: place < shape.depth, body, (1, first), parallel_iterations=1)
    kernel, bias = _last(weights, shape)
    return tf.matmul(h, kernel) + bias


def gradients(
    weights: Any, shape: Shape, x: Any, rates: Any, seed: Any, scores: Callable[[Any], tuple[Any, Any]]
) -> tuple[Any, Any, Any]:
    """One step's scores, and each member's gradient of its own loss.

    Args:
        weights: (K, P).
        shape: of the networks.
        x: (B, D).
        rates: of dropout, (K,).
        seed: two int64, of the step: what is dropped depends on it and on the layer's place.
        scores: gives loss and metric, each (K,), of the outputs (K, B, O).

    Returns:
        Losses (K,), metrics (K,), gradients (K, P).
    """
    arrays = [tf.TensorArray(tf.float32, shape.depth, element_shape=[None] * 3, infer_shape=False) for _ in range(4)]

    def forwards(place: Any, h: Any, inputs: Any, arrays: list[Any]) -> Any:
        kernel, bias, slopes = _hidden(weights, shape, place, inputs)
        bent = _bent(shape.activation, tf.matmul(h, kernel) + bias, slopes)
        out, slope, below = _dropped(*bent, rates[:, None, None], seed * tf.cast(2 * place + 1, tf.int64))
        items = (h, kernel, slope, below)
        return out, [array.write(place, item) for array, item in zip(arrays, items, strict=True)]

    def up(place: Any, h: Any, *arrays: Any) -> Any:
        out, arrays = forwards(place, h, shape.width, arrays)
        return place + 1, out, *arrays

    h, arrays = forwards(0, _spread(x, weights), shape.inputs, arrays)
    _, h, *arrays = tf.while_loop(lambda place, *_: place < shape.depth, up, (1, h, *arrays), parallel_iterations=1)
    kernel, bias = _last(weights, shape)
    with tf.GradientTape() as tape:
        out = tf.matmul(h, kernel) + bias
        tape.watch(out)
        losses, metrics = scores(out)
    slope = tape.gradient(losses, out)
    entered, kernels, slopes, belows = arrays

    def backwards(place: Any, above: Any, flat: Any) -> tuple[Any, Any]:
        below = belows.read(place)
        own = tf.reduce_sum(above[:, :, : tf.shape(below)[2]] * below, 1)
        slope = above * slopes.read(place)
        return slope, tf.concat([*_products(entered.read(place), slope), own, flat], 1)

    def down(place: Any, above: Any, flat: Any) -> Any:
        slope, flat = backwards(place, above, flat)
        return place - 1, tf.matmul(slope, kernels.read(place), transpose_b=True), flat

    above = tf.matmul(slope, kernel, transpose_b=True)
    start = (shape.depth - 1, above, tf.concat(_products(h, slope), 1))
    _, above, flat = tf.while_loop(lambda place, *_: place > 0, down, start, parallel_iterations=1)
    return losses, metrics, backwards(0, above, flat)[1]


def _products(h: Any, slope: Any) -> list[Any]:
    """A layer's gradients by its kernel and its bias, (K, numbers)."""
    kernel = tf.matmul(h, slope, transpose_a=True)
    return [tf.reshape(kernel, [tf.shape(h)[0], -1]), tf.reduce_sum(slope, 1)]


def _spread(x: Any, weights: Any) -> Any:
    """The same rows for each member, (K, B, D)."""
    return tf.broadcast_to(x[None], [tf.shape(weights)[0], tf.shape(x)[0], tf.shape(x)[1]])


def _hidden(weights: Any, shape: Shape, place: Any, inputs: Any) -> tuple[Any, Any, Any]:
    """Kernel (K, inputs, W), bias (K, 1, W) and slopes (K, 1, W or 0) of the hidden layer at this place."""
    begins, sizes = _place(shape, place, inputs)
    kernel, bias, slopes = _blocks(weights, begins, sizes)
    return tf.reshape(kernel, [-1, inputs, shape.width]), bias[:, None], slopes[:, None]


def _place(shape: Shape, place: Any, inputs: Any) -> tuple[Any, list[Any]]:
    width = shape.width
    each = width * width + width + shape.slopes
    begins = tf.where(place > 0, width * (shape.inputs - width) + each * place, 0)
    return begins, [inputs * width, width, shape.slopes]


def _blocks(weights: Any, begins: Any, sizes: list[Any]) -> list[Any]:
    blocks = []
    for size in sizes:
        blocks.append(weights[:, begins : begins + size])
        begins += size
    return blocks


def _last(weights: Any, shape: Shape) -> tuple[Any, Any]:
    """Kernel (K, W, O) and bias (K, 1, O) of the last layer."""
    kernel = weights[:, -(shape.width + 1) * shape.outputs : -shape.outputs]
    return tf.reshape(kernel, [-1, shape.width, shape.outputs]), weights[:, None, -shape.outputs :]


def _function(activation: Any, slopes: Any) -> Any:
    return activation or (lambda x: tf.nn.relu(x) - slopes * tf.nn.relu(-x))


@tf.function(autograph=False, input_signature=[_CHOICE, _STACK, _STACK])
def _activated(activation: Any, z: Any, slopes: Any) -> Any:
    def branch(function: Any) -> Any:
        return lambda: _function(function, slopes)(z)

    return tf.switch_case(activation, [branch(function) for function in ACTIVATIONS.values()])


@tf.function(autograph=False, input_signature=[_CHOICE, _STACK, _STACK])
def _bent(activation: Any, z: Any, slopes: Any) -> Any:
    """The activation, its slope by `z`, and by its own slopes where it has any, else (K, B, 0)."""

    def branch(function: Any) -> Any:
        def bend() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(z)
                h = _function(function, slopes)(z)
            return h, tape.gradient(h, z), z[:, :, :0] if function else -tf.nn.relu(-z)

        return bend

    return tf.switch_case(activation, [branch(function) for function in ACTIVATIONS.values()])


@tf.function(autograph=False, input_signature=[_STACK, _STACK, _STACK, _STACK, tf.TensorSpec([2], tf.int64)])
def _dropped(h: Any, slope: Any, below: Any, rates: Any, seed: Any) -> Any:
    """Inverted dropout, as in Keras, of what `_bent` answers; one draw (B, W) for all members."""

    def drop() -> Any:
        share = kept(tf.random.stateless_uniform(tf.shape(h)[1:], seed), rates, h.dtype)
        return h * share, slope * share, below * share[:, :, : tf.shape(below)[2]]

    return tf.cond(tf.reduce_any(rates > 0), drop, lambda: (h, slope, below))
