"""Data of users as tf.data datasets, for the tests of cohorts. Imported by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tests.contract import cohort_models, keras_models

passes = 0  # over a train dataset of `counted` or `uneven` that were begun


def _batches(part: Any, size: int = 16) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(part).batch(size)


def shuffled() -> Any:
    """Rows with weights, in an order that is chosen once."""
    train, validation = map(tf.data.Dataset.from_tensor_slices, keras_models.weighted())
    return train.shuffle(90, seed=3, reshuffle_each_iteration=False).batch(16).prefetch(1), validation.batch(16)


def halves() -> Any:
    """Two inputs by name."""
    return tuple(map(_batches, cohort_models.halves()))


def pictures() -> Any:
    """Pictures of 2 x 2 that are decoded as they are read."""

    def decoded(png: Any, y: Any) -> Any:
        return tf.reshape(tf.cast(tf.io.decode_png(png, 1), tf.float32) / 40.0 - 3.0, [2, 2, 1]), y

    def dataset(x: Any, y: Any) -> Any:
        pixels = ((x + 3.0) * 40.0).clip(0, 255).astype("uint8").reshape(-1, 2, 2, 1)
        return tf.data.Dataset.from_tensor_slices(([tf.io.encode_png(each) for each in pixels], y)).map(decoded)

    return tuple(dataset(*part).batch(16) for part in keras_models.blobs())


def numbers() -> Any:
    """A target near 0, in two columns that are equal, and a weight per row."""
    parts = [(x, (y[:, None].repeat(2, 1) - 200_000) / 50_000) for x, y in keras_models.prices()]
    return tuple(_batches((x, y, np.linspace(0.5, 2.0, len(x))), 32) for x, y in parts)


def counted() -> Any:
    """Another order in each pass."""
    return _drawn(lambda number: np.random.default_rng(number).permutation(90), 6)


def uneven() -> Any:
    """In each pass fewer batches than before, and no word of how many."""
    return _drawn(lambda number: range(90 - 25 * number), None)


def once() -> Any:
    """Rows that can be read for the dry run, and for one epoch, and never again."""
    return _drawn(lambda number: range(90 if number < 1 else 0), None)


def untyped() -> Any:
    """Targets of which no type says how many axes they have."""
    train, validation = map(_batches, keras_models.blobs())
    return train.map(lambda x, y: (x, tf.numpy_function(lambda array: array, [y], tf.int64))), validation


def _drawn(order: Callable[[int], Iterable[int]], count: int | None) -> Any:
    """`order`: the rows of a pass, by its number; `count`: of its batches."""
    (x, y), validation = keras_models.blobs()

    def rows() -> Iterator[Any]:
        global passes
        passes += 1
        for place in order(passes - 1):
            yield x[place], float(y[place])

    signature = tf.TensorSpec([4], tf.float32), tf.TensorSpec([], tf.float32)
    train = tf.data.Dataset.from_generator(rows, output_signature=signature).batch(16)
    counted = train if count is None else train.apply(tf.data.experimental.assert_cardinality(count))
    return counted, _batches(validation)
