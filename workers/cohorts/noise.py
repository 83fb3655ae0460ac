"""Noise that all members of a stack share, each cut at its own rate: comparisons are paired.

Keras' layers draw from a generator of their own, which no vectorized program can do per member. Here a layer's draw
depends on the study's seed, the step and the layer's place alone. For a rate of 0 nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.kinds import noisy_layers

_WORD = tf.uint32
_STRIDE = 0x9E3779B9  # odd, and far from any simple fraction of 2^32


def seed_of(seed: Any, place: Any) -> Any:
    """Two int64 of a layer's own. `seed`: those of the step, the study's (below 2^32) and its number."""
    return seed + tf.stack([tf.cast(place, tf.int64) * 2**32, tf.constant(0, tf.int64)])


def uniform(shape: Any, seed: Any) -> Any:
    """Uniform numbers in [0, 1), float32: 24 bits of a hash of their place. `seed`: two int64.

    The same ones in a graph and compiled by XLA, where TensorFlow's own are others, and cost 370 times as much.
    """
    key = tf.constant(0, _WORD)
    for part in tf.unstack(tf.reshape(tf.bitcast(seed, tf.int32), [4]), num=4):
        key = _hashed(tf.bitwise.bitwise_xor(key, tf.bitcast(part, _WORD)) + tf.constant(_STRIDE, _WORD))
    places = tf.bitcast(tf.range(tf.reduce_prod(shape)), _WORD)
    bits = _shifted(_hashed(places * tf.constant(_STRIDE, _WORD) + key), 8)
    return tf.reshape(tf.cast(tf.bitcast(bits, tf.int32), tf.float32) * 2.0**-24, shape)


def _hashed(word: Any) -> Any:
    """Every bit of a word decides about half of the result's: `lowbias32` of C. Wellons' hash prospector."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        word = tf.bitwise.bitwise_xor(word, _shifted(word, shift)) * tf.constant(factor, _WORD)
    return tf.bitwise.bitwise_xor(word, _shifted(word, 16))


def _shifted(word: Any, bits: int) -> Any:
    return tf.bitwise.right_shift(word, tf.constant(bits, _WORD))


@contextmanager
def common_noise(model: keras.Model, rates: Any, seed: Any) -> Iterator[None]:
    """Make the model's noisy layers draw in common while it is called with `training=True`.

    Args:
        model: its layers call what is given here instead of their own method.
        rates: of each noisy layer its rate or deviation, in their order; numbers or scalar tensors.
        seed: two int64, of the step, see `seed_of`.
    """
    layers = noisy_layers(model)
    for place, layer in enumerate(layers):
        layer.call = _call(layer, rates[place], seed_of(seed, place))
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def dropped(x: Any, draw: Any, rate: Any) -> Any:
    """Inverted dropout, as in Keras. `draw`: uniform in [0, 1), broadcast to `x`.

    A product, because its gradient is one as well: that of a choice between quotients takes twice as long.
    """
    return x * kept(draw, rate, x.dtype)


def kept(draw: Any, rate: Any, dtype: Any) -> Any:
    """What inverted dropout multiplies by: 0 where something is dropped."""
    return tf.cast(draw >= rate, dtype) * (1 / (1 - rate))


def _call(layer: Any, rate: Any, seed: Any) -> Callable[..., Any]:
    kind = type(layer).__name__

    def call(inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        if kind == "GaussianNoise":
            return inputs + tf.random.stateless_normal(tf.shape(inputs), seed) * rate
        if kind == "GaussianDropout":
            return inputs * (1 + tf.random.stateless_normal(tf.shape(inputs), seed) * tf.sqrt(rate / (1 - rate)))
        return dropped(inputs, uniform(_shape(layer, inputs), seed), rate)

    return call


def _shape(layer: Any, inputs: Any) -> Any:
    """Of a dropout's draw: an axis of which the layer says 1 is dropped as a whole."""
    shape = tf.unstack(tf.shape(inputs), num=len(inputs.shape))
    if hasattr(layer, "_get_noise_shape"):
        return layer._get_noise_shape(inputs)
    given = layer.noise_shape or [None] * len(shape)
    return tf.stack([shape[axis] if size is None else size for axis, size in enumerate(given)])
