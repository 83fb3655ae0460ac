"""Networks of the `mlp` family, a stack of them at once: what they answer, and how their losses slope by the weights.

The hidden layers behind the first one are alike, so that loops pass them, forwards and backwards: one graph serves
every depth. The way back is written by hand, because TensorFlow's own gradient of a loop adds up the gradients of all
weights in each turn. What is chosen among many (`_activated`, `_bent`) is a function of its own, so that it is traced
once in a process.

K members, P weights each, D inputs, W units of a hidden layer, O outputs, B rows. A row of `weights` (K, P) is that of
workers/cohorts/layout.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.noise import kept, seed_of, uniform

_LEAK = 0.3  # the slope of keras.layers.LeakyReLU


@dataclass(frozen=True)
class Activation:
    """An activation h of z: by itself, and the slope of a loss by z where `above` is that by h."""

    of: Callable[[Any], Any]
    bent: Callable[[Any, Any], Any]  # (above, h), or (above, z) where z is needed: h is then not written over z
    needs_z: bool = False


def _gelu_bent(above: Any, z: Any) -> Any:
    density = tf.exp(-0.5 * tf.square(z)) * (2 * math.pi) ** -0.5
    return above * (0.5 * (1 + tf.math.erf(z * 0.5**0.5)) + z * density)


ACTIVATIONS: dict[str, Activation | None] = {
    "sigmoid": Activation(tf.sigmoid, lambda above, h: tf.raw_ops.SigmoidGrad(y=h, dy=above)),
    "tanh": Activation(tf.tanh, lambda above, h: tf.raw_ops.TanhGrad(y=h, dy=above)),
    "relu": Activation(tf.nn.relu, lambda above, h: tf.raw_ops.ReluGrad(gradients=above, features=h)),
    "leaky_relu": Activation(
        lambda z: tf.nn.leaky_relu(z, _LEAK),
        lambda above, h: tf.raw_ops.LeakyReluGrad(gradients=above, features=h, alpha=_LEAK),
    ),
    "prelu": None,  # has weights of its own, see `_activated` and `_bent`
    "elu": Activation(tf.nn.elu, lambda above, h: tf.raw_ops.EluGrad(gradients=above, outputs=h)),
    "gelu": Activation(keras.activations.gelu, _gelu_bent, needs_z=True),
    "softplus": Activation(tf.nn.softplus, lambda above, h: above * -tf.math.expm1(-h)),
}
"""By the names of the `mlp` space, which has the same ones (held by a test)."""

_ROWS, _STACK = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None, None], tf.float32)
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
        return _activated(shape.activation, tf.matmul(h, kernel) + bias, slopes)[0]

    def body(place: Any, h: Any) -> Any:
        return place + 1, layer(place, h, shape.width)

    h = layer(0, _spread(x, weights), shape.inputs)
    _, h = tf.while_loop(lambda place, _: place < shape.depth, body, (1, h), parallel_iterations=1)
    kernel, bias = _last(weights, shape)
    return tf.matmul(h, kernel) + bias


def penalties(weights: Any, shape: Shape, l1: Any, l2: Any) -> Any:
    """Of each member's hidden kernels, (K,): as in Keras without a half, l1 |w| + l2 w^2. `l1`, `l2`: (K, 1)."""
    width, others = shape.width, tf.zeros([shape.width + shape.slopes])
    hidden = tf.concat([tf.ones([width * width]), others], 0)
    parts = [tf.ones([shape.inputs * width]), others, tf.tile(hidden, [shape.depth - 1])]
    counted = weights * tf.concat([*parts, tf.zeros([(width + 1) * shape.outputs])], 0)
    return tf.reduce_sum(l1 * tf.abs(counted) + l2 * tf.square(counted), 1)


def gradients(
    weights: Any, shape: Shape, hyper: Any, x: Any, seed: Any, scores: Callable[[Any], tuple[Any, Any]]
) -> tuple[Any, Any, Any, Any]:
    """What a step needs: each member's own gradient, with that of its penalty.

    Args:
        weights: (K, P).
        shape: of the networks.
        hyper: L1, L2 and dropout rate of the members, three of (K, 1, 1).
        x: (B, D).
        seed: two int64, of the step: what is dropped depends on it and on the layer's place.
        scores: gives data loss and metric, each (K,), of the outputs (K, B, O).

    Returns:
        Data losses (K,), penalties (K,), metrics (K,), gradients (K, P).
    """
    step = _Step(weights, shape, hyper, seed)
    h, layers = step.forwards(_spread(x, weights))
    kernel, bias = _last(weights, shape)
    with tf.GradientTape() as tape:
        out = tf.matmul(h, kernel) + bias
        tape.watch(out)
        losses, metrics = scores(out)
    slope = tape.gradient(losses, out)  # of the sum of the losses: each member's own, for they share no weights
    penalty, hidden = step.backwards(tf.matmul(slope, kernel, transpose_b=True), layers)
    return losses, penalty, metrics, tf.concat([*hidden, *_of_layer(h, slope)], 1)


class _Step:
    """The hidden layers of a stack, there and back; of each layer the way there keeps what the way back needs."""

    def __init__(self, weights: Any, shape: Shape, hyper: Any, seed: Any) -> None:
        self._weights, self._shape, self._seed = weights, shape, seed
        self._l1, self._l2, self._rates = hyper

    def forwards(self, x: Any) -> tuple[Any, list[Any]]:
        """What the last hidden layer answers, and of all layers: kernel, what came in, z, h, and what dropout left."""
        arrays = [tf.TensorArray(tf.float32, self._shape.depth, element_shape=[None] * 3) for _ in range(5)]

        def body(place: Any, h: Any, *arrays: Any) -> Any:
            return place + 1, *self._up(place, h, self._shape.width, arrays)

        begun = (1, *self._up(0, x, self._shape.inputs, arrays))
        _, h, *arrays = tf.while_loop(lambda place, *_: place < self._shape.depth, body, begun, parallel_iterations=1)
        return h, arrays

    def _up(self, place: Any, entered: Any, inputs: Any, arrays: Iterable[Any]) -> list[Any]:
        kernel, bias, slopes = _hidden(self._weights, self._shape, place, inputs)
        h, z = _activated(self._shape.activation, tf.matmul(entered, kernel) + bias, slopes)
        left, share = _dropped(h, self._rates, seed_of(self._seed, place))
        items = (kernel, entered, z, h, share)
        return [left, *(array.write(place, item) for array, item in zip(arrays, items, strict=True))]

    def backwards(self, above: Any, layers: list[Any]) -> tuple[Any, list[Any]]:
        """Penalties (K,), and the gradient in blocks (K, numbers). `above`: slope by what the last layer answers."""

        def body(place: Any, above: Any, total: Any, flat: Any) -> Any:
            kernel, slope, penalty, blocks = self._down(place, above, layers)
            above = tf.matmul(slope, kernel, transpose_b=True)
            return place - 1, above, total + penalty, tf.concat([*blocks, flat], 1)

        begun = (self._shape.depth - 1, above, tf.zeros_like(self._weights[:, 0]), self._weights[:, :0])
        _, above, total, flat = tf.while_loop(lambda place, *_: place > 0, body, begun, parallel_iterations=1)
        _, _, penalty, blocks = self._down(0, above, layers)
        return total + penalty, [*blocks, flat]

    def _down(self, place: Any, above: Any, layers: list[Any]) -> tuple[Any, Any, Any, list[Any]]:
        kernel, entered, z, h, share = (array.read(place) for array in layers)
        above = tf.cond(tf.size(share) > 0, lambda: above * share, lambda: above)
        slope, own = _bent(self._shape.activation, above, z, h, _slopes(self._weights, self._shape, place))
        by_kernel, by_bias = _of_layer(entered, slope)
        penalty, by_kernel = _penalized(kernel, by_kernel, self._l1, self._l2)
        return kernel, slope, penalty, [by_kernel, by_bias, own]


def _of_layer(entered: Any, slope: Any) -> tuple[Any, Any]:
    """A layer's gradient by its kernel and by its bias, (K, numbers). `slope`: by what comes out, (K, B, out)."""
    kernel = tf.matmul(entered, slope, transpose_a=True)
    return tf.reshape(kernel, [tf.shape(kernel)[0], -1]), tf.reduce_sum(slope, 1)


def _spread(x: Any, weights: Any) -> Any:
    """The same rows for each member, (K, B, D)."""
    return tf.broadcast_to(x[None], [tf.shape(weights)[0], tf.shape(x)[0], tf.shape(x)[1]])


def _begin(shape: Shape, place: Any) -> Any:
    """Where in a row the hidden layer at this place begins."""
    each = shape.width * shape.width + shape.width + shape.slopes
    return tf.where(place > 0, shape.width * (shape.inputs - shape.width) + each * place, 0)


def _hidden(weights: Any, shape: Shape, place: Any, inputs: Any) -> tuple[Any, Any, Any]:
    """Kernel (K, inputs, W), bias (K, 1, W) and slopes (K, 1, W or 0) of the hidden layer at this place."""
    first = _begin(shape, place)
    second = first + inputs * shape.width
    kernel = tf.reshape(weights[:, first:second], [-1, inputs, shape.width])
    third = second + shape.width
    return kernel, weights[:, None, second:third], weights[:, None, third : third + shape.slopes]


def _slopes(weights: Any, shape: Shape, place: Any) -> Any:
    end = _begin(shape, place + 1)
    return weights[:, None, end - shape.slopes : end]


def _last(weights: Any, shape: Shape) -> tuple[Any, Any]:
    """Kernel (K, W, O) and bias (K, 1, O) of the last layer."""
    kernel = weights[:, -(shape.width + 1) * shape.outputs : -shape.outputs]
    return tf.reshape(kernel, [-1, shape.width, shape.outputs]), weights[:, None, -shape.outputs :]


def prelu(z: Any, slopes: Any) -> Any:
    """With slopes of its own where z is below zero, as keras.layers.PReLU."""
    return tf.nn.relu(z) - slopes * tf.nn.relu(-z)


@tf.function(autograph=False, input_signature=[_CHOICE, _STACK, _STACK])
def _activated(activation: Any, z: Any, slopes: Any) -> Any:
    """The activation, and z where `_bent` needs it, else (0, 0, 0), so that one may be written over the other."""

    def answer(activation: Activation | None) -> Any:
        if activation is None:
            return lambda: (prelu(z, slopes), z)
        return lambda: (activation.of(z), z if activation.needs_z else tf.zeros([0, 0, 0]))

    return tf.switch_case(activation, [answer(item) for item in ACTIVATIONS.values()])


@tf.function(autograph=False, input_signature=[_CHOICE, *[_STACK] * 4])
def _bent(activation: Any, above: Any, z: Any, h: Any, slopes: Any) -> Any:
    """The slope of the losses by z (K, B, W), and by the activation's own slopes (K, W), where it has none (K, 0)."""

    def prelu() -> Any:
        below, beyond = (above * tf.cast(where, z.dtype) for where in (z < 0, z > 0))  # where z is 0 nothing slopes
        return beyond + slopes * below, tf.reduce_sum(below * z, 1)

    def other(activation: Activation) -> Any:
        return lambda: (activation.bent(above, z if activation.needs_z else h), slopes[:, 0])

    return tf.switch_case(activation, [other(item) if item else prelu for item in ACTIVATIONS.values()])


@tf.function(autograph=False, input_signature=[_STACK, _STACK, tf.TensorSpec([2], tf.int64)])
def _dropped(h: Any, rates: Any, seed: Any) -> Any:
    """Inverted dropout, as in Keras, and what it multiplied by, (K, B, 0) for nothing; one draw for all members."""

    def drop() -> Any:
        share = kept(uniform(tf.shape(h)[1:], seed), rates, h.dtype)
        return h * share, share

    return tf.cond(tf.reduce_any(rates > 0), drop, lambda: (h, h[:, :, :0]))


@tf.function(autograph=False, input_signature=[_STACK, _ROWS, _STACK, _STACK])
def _penalized(kernel: Any, gradient: Any, l1: Any, l2: Any) -> Any:
    """Each member's penalty of a kernel (K,), and the gradient with its slope. Goes over the kernels few times."""

    def add() -> Any:
        second = l2 * kernel
        both = tf.cond(tf.reduce_any(l1 > 0), lambda: l1 * tf.sign(kernel) + second, lambda: second)
        flat = [tf.reshape(item, tf.shape(gradient)) for item in (both, second)]
        return tf.reduce_sum(both * kernel, [1, 2]), tf.add_n([gradient, *flat])

    return tf.cond(tf.reduce_any(l1 + l2 > 0), add, lambda: (tf.zeros_like(l1[:, 0, 0]), gradient))
