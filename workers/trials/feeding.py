"""Batches of in-memory arrays for `fit`, in an order that depends on the seed and the number of the epoch alone.

So a trial that resumes at epoch 7 sees the batches that an undisturbed trial sees.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import tensorflow as tf

from workers.data import DataError, Part

_CACHE: weakref.WeakKeyDictionary[Part, Any] = weakref.WeakKeyDictionary()
_HEADS: weakref.WeakKeyDictionary[Part, Head] = weakref.WeakKeyDictionary()

EVALUATION_ROWS = 512  # rows per validation batch at least; the averages do not depend on it
HEAD_BATCHES, HEAD_ROWS = 3, 64


class Feed:
    """Train and validation batches of one trial. Set `epoch` before each pass over `train`."""

    def __init__(self, train: Part, validation: Part, batch_size: int, seed: int) -> None:
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.train = train.dataset
        if self.train is None:
            self.train = self._shuffled(train, batch_size, seed)
        self.validation = validation.dataset
        if self.validation is None:
            self.validation = _in_order(validation, max(batch_size, EVALUATION_ROWS))

    def begin(self, epoch: int) -> None:
        """Choose the order of the next pass; `epoch` counts from 0."""
        self._epoch.assign(epoch)

    def _shuffled(self, part: Part, batch_size: int, seed: int) -> tf.data.Dataset:
        arrays, rows = tensors(part)
        seed &= 0x7FFFFFFFFFFFFFFF

        @tf.autograph.experimental.do_not_convert
        def batch(step: Any) -> Any:
            places = tf.range(step * batch_size, tf.minimum(tf.constant(rows, tf.int64), (step + 1) * batch_size))
            order = tf.stack([tf.constant(seed, tf.int64), tf.identity(self._epoch)])
            chosen = tf.random.experimental.index_shuffle(places, order, tf.constant(rows - 1, tf.int64))
            return tf.nest.map_structure(lambda array: tf.gather(array, chosen), arrays)

        return tf.data.Dataset.range(math.ceil(rows / batch_size)).map(batch).prefetch(4)


def _in_order(part: Part, batch_size: int) -> tf.data.Dataset:
    arrays, rows = tensors(part)

    @tf.autograph.experimental.do_not_convert
    def batch(step: Any) -> Any:
        return tf.nest.map_structure(lambda array: array[step * batch_size : (step + 1) * batch_size], arrays)

    return tf.data.Dataset.range(math.ceil(rows / batch_size)).map(batch).prefetch(2)


def tensors(part: Part) -> tuple[Any, int]:
    """`(x, y)` or `(x, y, weight)` as tensors in main memory, floats in Keras' width, made once per part."""
    arrays = _CACHE.get(part)
    if arrays is None:
        arrays = (part.x, part.y) if part.weight is None else (part.x, part.y, part.weight)
        with tf.device("CPU:0"):
            arrays = _CACHE[part] = tf.nest.map_structure(_tensor, arrays)
    return arrays, rows_of(arrays)


@dataclass(frozen=True)
class Head:
    """How a part of the data begins."""

    batches: list[Any]  # of a dataset the first HEAD_BATCHES, else one; each of at most HEAD_ROWS rows
    rows: int  # of a dataset's first batch before it was cut; else all of them


def head(part: Part) -> Head:
    """The beginning of a part, kept: a dataset that shuffles reads all that its buffer holds before its first batch."""
    if part.dataset is None:
        arrays, rows = tensors(part)
        return Head([tf.nest.map_structure(lambda array: array[:HEAD_ROWS], arrays)], rows)
    if part not in _HEADS:
        batches = list(islice(part.dataset, HEAD_BATCHES))
        if not batches:
            raise DataError("A dataset yielded no batch: expected at least one.")
        _HEADS[part] = Head(list(map(_cut, batches)), rows_of(batches[0]))
    return _HEADS[part]


def spec(part: Part) -> Any:
    """The types of a batch, the number of its rows left open."""
    given = tensors(part)[0] if part.dataset is None else part.dataset.element_spec
    return tf.nest.map_structure(lambda item: tf.TensorSpec([None, *item.shape[1:]], item.dtype), given)


def rows_of(batch: Any) -> int:
    """How many rows these tensors have."""
    return int(tf.nest.flatten(batch)[0].shape[0])


def _cut(batch: Any) -> Any:
    """Copies of its first rows: slices would keep the whole batch in memory."""
    places = tf.range(min(rows_of(batch), HEAD_ROWS))
    return tf.nest.map_structure(lambda item: tf.gather(item, places), batch)


def _tensor(array: Any) -> Any:
    wide = getattr(array, "dtype", None) == "float64"
    return tf.convert_to_tensor(array, keras.config.floatx() if wide else None)
