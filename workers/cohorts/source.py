"""The data of a study as the tensors that every stack of the `mlp` family trains on."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers import models
from workers.cohorts.program import Loss
from workers.data import Part, Parts

_CACHE: weakref.WeakKeyDictionary[Part, Any] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Table:
    """A part of the data: inputs (rows, width), targets, a weight per row."""

    x: Any
    y: Any
    weight: Any

    @property
    def rows(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True)
class Source:
    """What every stack of a study trains on."""

    train: Table
    validation: Table
    loss: Loss
    metric: str  # "accuracy" or "mae"
    offset: Any  # (outputs,) float32: what a regression's last layer adds; zeros for classes
    scale: Any  # (outputs,) float32: what it multiplies by; ones for classes
    seed: int  # of the order of the batches and of the noise


def reason_against(parts: Parts) -> str | None:
    """None where stacks can train on this data, else why not."""
    if parts.train.dataset is not None or parts.validation.dataset is not None:
        return "the data is a tf.data.Dataset"
    if parts.task not in ("classification", "regression"):
        return "the data says neither classes nor numbers"
    if not hasattr(parts.train.x, "shape") or np.ndim(parts.train.x) < 2:
        return "the data has several inputs"
    if keras.config.dtype_policy().name != "float32":
        return f"Keras computes in {keras.config.dtype_policy().name}"
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
        train=_table(parts.train, loss),
        validation=_table(parts.validation, loss),
        loss=loss,
        metric="mae" if loss == "squared" else "accuracy",
        offset=tf.constant(offset, tf.float32),
        scale=tf.constant(scale, tf.float32),
        seed=seed,
    )


def _table(part: Part, loss: Loss) -> Table:
    if part not in _CACHE:
        x = np.asarray(part.x, "float32")
        y = np.asarray(part.y, "int64").reshape(-1) if loss == "sparse" else np.asarray(part.y, "float32")
        weight = np.ones(len(x), "float32") if part.weight is None else np.asarray(part.weight, "float32").reshape(-1)
        flat = x.reshape(len(x), -1)
        _CACHE[part] = Table(*map(tf.constant, (flat, y if y.ndim != 1 or loss == "sparse" else y[:, None], weight)))
    table: Table = _CACHE[part]
    return table
