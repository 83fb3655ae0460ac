# ruff: noqa: ARG002 - Keras says what a callback is given
"""The callback through which Keras passes the gate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

from workers.trials.gate import Lane
from workers.trials.penalty import PenaltySplit


class Passage(keras.callbacks.Callback):
    """Keras' side of the gate: stops within a batch, reports at the end of an epoch, waits there.

    Args:
        lane: of the trial.
        split: watches the model's loss.
        begin: called with the number of each epoch, from 0, before it.
        finish: called with an epoch's metrics and seconds; may wait, and raises when the trial is over.
    """

    def __init__(
        self,
        lane: Lane,
        split: PenaltySplit,
        begin: Callable[[int], None] | None,
        finish: Callable[[dict[str, float], float], None],
    ) -> None:
        super().__init__()
        self._lane, self._split, self._begin, self._finish = lane, split, begin, finish
        self._began = time.monotonic()
        self._seen = -1
        self._train: dict[str, float] | None = None
        self._validation: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._begin is not None:
            self._begin(epoch)
        self._began, self._seen = time.monotonic(), -1
        self._train, self._validation = None, {}
        self._split.reset()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._lane.batch(max(1, batch - self._seen))
        self._seen = batch

    def on_test_begin(self, logs: Any = None) -> None:
        if self._train is None:
            self._train = self._split.take()
        self._split.reset()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._lane.batch()

    def on_test_end(self, logs: Any = None) -> None:
        self._validation = {f"val_{name}": value for name, value in self._split.take().items()}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        train = self._split.take() if self._train is None else self._train
        metrics = {**numbers_of(logs or {}), **train, **self._validation}
        self._finish(metrics, time.monotonic() - self._began)


def numbers_of(logs: Any) -> dict[str, float]:
    """Keras' logs as plain numbers; a metric that is not a scalar is left out."""
    numbers = {}
    for name, value in logs.items():
        if getattr(value, "size", 1) == 1:
            numbers[str(name)] = float(value)
    return numbers
