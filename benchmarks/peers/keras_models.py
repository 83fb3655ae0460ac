"""The networks that the peers train, as Keras' documentation advises for small models on CPUs.

A compiled `fit` over a cached, shuffled and prefetched `tf.data` pipeline, one call of the compiled function per epoch
(`steps_per_execution`), one thread for the insides of an operation as there is a process per core, and no XLA. Tried on
the digits: XLA took up to a quarter more CPU time at depth 4 and the same at depth 1, and gathering shuffled rows in
`tf.data` more at depth 1 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from benchmarks.peers import data
from benchmarks.peers.clock import Course
from benchmarks.peers.workloads import WARM_POINT

SCORE = "val_data_loss"  # of a search: the loss without the penalty, which Keras adds to `val_loss`


class Networks:
    """Builds and trains networks on one data set.

    Args:
        name: of a function of data.py.
        searched: watch the loss without the penalty instead of the accuracy.
    """

    def __init__(self, name: str, *, searched: bool = False) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        (self._x, self._y), self._validation = getattr(data, name)()[:2]
        self._classes = 0 if self._y.dtype.kind == "f" else int(self._y.max()) + 1
        self._searched = searched
        self._train: dict[int, tf.data.Dataset] = {}
        self.validation = tf.data.Dataset.from_tensor_slices(self._validation).batch(512).cache()

    def train(self, batch: int) -> tf.data.Dataset:
        """The train rows in batches, in another order each epoch; made once per batch size."""
        if batch not in self._train:
            rows = tf.data.Dataset.from_tensor_slices((self._x, self._y)).cache()
            self._train[batch] = rows.shuffle(len(self._x)).batch(batch).prefetch(4)
        return self._train[batch]

    def build(self, point: Mapping[str, Any]) -> keras.Model:
        """The compiled network of a configuration."""
        penalty = keras.regularizers.L1L2(point["l1"], point["l2"])
        layers: list[Any] = [keras.Input(self._x.shape[1:])]
        for _ in range(point["depth"]):
            layers.append(keras.layers.Dense(point["width"], point["activation"], kernel_regularizer=penalty))
            if point["dropout"]:
                layers.append(keras.layers.Dropout(point["dropout"]))
        head = keras.layers.Dense(self._classes, "softmax") if self._classes else keras.layers.Dense(1)
        model = keras.Sequential([*layers, head])
        config = {"class_name": point["optimizer"], "config": {"learning_rate": point["learning_rate"]}}
        steps = len(self.train(point["batch_size"]))
        model.compile(
            keras.optimizers.get(config),
            "sparse_categorical_crossentropy" if self._classes else "mse",
            metrics=[self._metric()],
            steps_per_execution=steps,
            jit_compile=False,
        )
        return model

    def fit(
        self, model: keras.Model, batch: int, epochs: int, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> dict[str, list[float]]:
        """Train; the metrics by epoch."""
        found = model.fit(
            self.train(batch), validation_data=self.validation, epochs=epochs, verbose=0, callbacks=list(callbacks)
        )
        history: dict[str, list[float]] = found.history
        return history

    def error(self, point: Mapping[str, Any], epochs: int) -> float:
        """Train a configuration from the beginning: 1 - its best validation accuracy."""
        keras.utils.clear_session()
        return 1.0 - float(max(self.fit(self.build(point), point["batch_size"], epochs)["val_accuracy"]))

    def warm_up(self) -> None:
        """Train a network of a depth that is not measured, for one epoch."""
        self.fit(self.build(WARM_POINT), WARM_POINT["batch_size"], 1)

    def _metric(self) -> Any:
        if not self._searched:
            return "accuracy"
        kind = keras.metrics.SparseCategoricalCrossentropy if self._classes else keras.metrics.MeanSquaredError
        return kind(name="data_loss")


class Recorder(keras.callbacks.Callback):
    """Writes the score of every epoch down."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self._course = course

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._course.record((logs or {})[SCORE])
