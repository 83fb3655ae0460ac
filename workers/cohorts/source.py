"""The data of a study as the tensors that every stack of the `mlp` family trains on."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.cohorts.batches import BatchReader, Resident, Streamed
from workers.cohorts.program import Loss
from workers.data import Part, Parts
from workers.trials import models
from workers.trials.feeding import head

_CACHE: weakref.WeakKeyDictionary[Part, BatchReader] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Source:
    """What every stack of a study trains on: batches of inputs (rows, width), targets, and a weight per row."""

    train: BatchReader
    validation: BatchReader
    inputs: int  # columns
    rows: int | None  # of a batch, where the data is in batches
    loss: Loss
    metric: str  # "accuracy" or "mae"
    offset: Any  # (outputs,) float32: what a regression's last layer adds; zeros for classes
    scale: Any  # (outputs,) float32: what it multiplies by; ones for classes
    seed: int  # of the order of the batches and of the noise


def reason_against(parts: Parts) -> str | None:
    """None where stacks can train on this data, else why not."""
    if parts.task not in ("classification", "regression"):
        return "the data says neither classes nor numbers"
    if keras.config.dtype_policy().name != "float32":
        return f"Keras computes in {keras.config.dtype_policy().name}"
    shape = parts.input_shape
    if not isinstance(shape, tuple) or not shape or any(isinstance(axis, tuple) for axis in shape):
        return "the data has several inputs"
    if parts.train.dataset is None:
        return None
    _, y, *_ = parts.train.dataset.element_spec
    if None in shape or (parts.classes is not None and not y.dtype.is_integer):
        return "the tf.data.Dataset has inputs of no fixed shape, or classes that are no numbers"
    return None


def source_of(parts: Parts, seed: int) -> Source:
    """The tensors, made once per part of the data. `seed`: of the study."""
    outputs = parts.classes or 1
    loss: Loss = "sparse"
    offset, scale = np.zeros(outputs), np.ones(outputs)
    if parts.task == "regression":
        loss = "squared"
        offset, scale = models.target_moments(parts)
    elif models.one_hot(parts):
        loss = "one_hot"
    return Source(
        train=_reader(parts.train, "train", loss),
        validation=_reader(parts.validation, "validation", loss),
        inputs=math.prod(parts.input_shape),
        rows=None if parts.train.dataset is None else head(parts.train).rows,
        loss=loss,
        metric="mae" if loss == "squared" else "accuracy",
        offset=tf.constant(offset, tf.float32),
        scale=tf.constant(scale, tf.float32),
        seed=seed,
    )


def _reader(part: Part, name: str, loss: Loss) -> BatchReader:
    if part not in _CACHE:
        _CACHE[part] = _resident(part, loss) if part.dataset is None else _streamed(part, name, loss)
    return _CACHE[part]


def _resident(part: Part, loss: Loss) -> Resident:
    x = np.asarray(part.x, "float32")
    y = np.asarray(part.y, "int64").reshape(-1) if loss == "sparse" else np.asarray(part.y, "float32")
    weight = np.ones(len(x), "float32") if part.weight is None else np.asarray(part.weight, "float32").reshape(-1)
    flat = x.reshape(len(x), -1)
    targets = y if y.ndim != 1 or loss == "sparse" else y[:, None]
    return Resident(tuple(map(tf.constant, (flat, targets, weight))))


def _streamed(part: Part, name: str, loss: Loss) -> Streamed:
    def flat(x: Any, y: Any, weight: Any = None) -> Any:
        rows = tf.shape(x)[0]
        targets = tf.reshape(tf.cast(y, tf.int64), [rows]) if loss == "sparse" else tf.cast(y, tf.float32)
        weights = tf.ones([rows]) if weight is None else tf.reshape(tf.cast(weight, tf.float32), [rows])
        return (
            tf.reshape(tf.cast(x, tf.float32), [rows, math.prod(x.shape[1:])]),
            targets if loss == "sparse" else tf.reshape(targets, [rows, math.prod(y.shape[1:])]),
            weights,
        )

    return Streamed(part.dataset.map(tf.autograph.experimental.do_not_convert(flat)), name)
