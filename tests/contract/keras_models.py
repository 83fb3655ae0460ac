"""Models and data for the tests of training, as a user would write them for KerasTuner. Workers import it by name."""

from __future__ import annotations

import sys
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf


def blobs() -> Any:
    """Three classes in four dimensions: ((x, y), (x_val, y_val)), 90 and 30 rows."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 120)
    x = (random.normal(size=(3, 4))[y] + 0.5 * random.normal(size=(120, 4))).astype("float32")
    return (x[:90], y[:90]), (x[90:], y[90:])


def prices() -> Any:
    """A linear target far from zero: mean about 200,000, deviation about 50,000."""
    random = np.random.default_rng(1)
    x = random.normal(size=(160, 3)).astype("float32")
    y = (200_000 + 50_000 * x[:, 0] / 1.5 + 1_000 * random.normal(size=160)).astype("float32")
    return (x[:120], y[:120]), (x[120:], y[120:])


def batches() -> Any:
    """The blobs as tf.data, batched by the user."""
    return tuple(tf.data.Dataset.from_tensor_slices(part).batch(16) for part in blobs())


def broken() -> Any:
    (x, y), validation = blobs()
    return (x * np.nan, y), validation


def one_hot() -> Any:
    (x, y), (x_val, y_val) = blobs()
    return (x, keras.utils.to_categorical(y, 3)), (x_val, keras.utils.to_categorical(y_val, 3))


class Batches(keras.utils.PyDataset):
    """The blobs in batches of 32."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        (x, y), _ = blobs()
        return x[32 * index : 32 * index + 32], y[32 * index : 32 * index + 32]


def batch_by_batch() -> Any:
    return Batches(), Batches()


def leaving() -> Any:
    sys.exit("no data today")


def _classifier(hidden: list[Any], learning_rate: float = 0.01) -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A conditional scope, as in KerasTuner's guide."""
    hidden = []
    if hp.Choice("kind", ["plain", "deep"]) == "deep":
        with hp.conditional_scope("kind", ["deep"]):
            layers = range(hp.Int("layers", 1, 2))
            hidden += [keras.layers.Dense(hp.Int(f"units_{number}", 4, 8), "relu") for number in layers]
    return _classifier(hidden, hp.Float("lr", 1e-3, 1e-1, sampling="log", default=1e-2))


def dropout(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Everything that a resumed trial could get wrong: dropout, batch statistics, two regularizers, Adam's moments."""
    return _classifier(
        [
            keras.layers.Dense(hp.Int("units", 4, 16), kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-2)),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.Dropout(0.3),
        ]
    )


class OwnFit(keras_tuner.HyperModel):
    """Chooses its batch size and its epochs in `fit`."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return _classifier([keras.layers.Dense(hp.Int("units", 4, 8), "relu")])

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        return model.fit(*args, batch_size=hp.Choice("batch_size", [8, 16]), epochs=hp.Int("epochs", 2, 3), **kwargs)


class OwnLoop(keras_tuner.HyperModel):
    """Trains by itself and says its metrics at the end."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return _classifier([keras.layers.Dense(hp.Int("units", 4, 8))])

    def fit(self, hp: Any, model: Any, x: Any, y: Any, validation_data: Any, **kwargs: Any) -> dict[str, float]:
        model.train_on_batch(x, y)
        return {"val_accuracy": float(model.test_on_batch(*validation_data)[1])}


class Needy(keras_tuner.HyperModel):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes


class OwnStep(keras.Model):
    """A subclassed model, built on its first call, with its own train step. It cannot describe itself."""

    def __init__(self, hp: keras_tuner.HyperParameters) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(hp.Int("units", 4, 8), "relu", kernel_regularizer="l2")
        self.answer = keras.layers.Dense(3, "softmax")

    def call(self, inputs: Any) -> Any:
        return self.answer(self.hidden(inputs))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class OwnLoss(OwnStep):
    """Never calls `compute_loss`: what its loss is made of nobody can say."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, self(x, training=True)))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        return {"loss": tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, self(x)))}


class OwnParts(OwnStep):
    """Its train step calls its parts and never all of it, as Keras' variational autoencoder does."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self.answer(self.hidden(x)))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        return {"loss": self.compute_loss(x=x, y=y, y_pred=self.answer(self.hidden(x)))}


class OwnTracker(keras.Model):
    """Keeps its loss by itself, as Keras' guide has it, but for the test step."""

    def __init__(self, hp: keras_tuner.HyperParameters) -> None:
        super().__init__()
        self.answer = keras.layers.Dense(3, "softmax")
        self.tracker = keras.metrics.Mean(name="loss")
        hp.Int("units", 4, 8)

    @property
    def metrics(self) -> list[Any]:
        return [self.tracker]

    def call(self, inputs: Any) -> Any:
        return self.answer(inputs)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def own_tracker(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = OwnTracker(hp)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def own_step(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = OwnStep(hp)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def own_parts(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = OwnParts(hp)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def own_loss(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = OwnLoss(hp)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def swinging(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Gets worse from some epoch on: the learning rate is far too high."""
    return _classifier([keras.layers.Dense(8, "relu")], hp.Float("lr", 1e-3, 10.0))


def exploding(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("units", 1, 2)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e20), "mse")
    return model


def nothing(hp: keras_tuner.HyperParameters) -> None:
    hp.Int("units", 4, 8)


def uncompiled(hp: keras_tuner.HyperParameters) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 4, 8))])


def lambda_layer(hp: keras_tuner.HyperParameters) -> keras.Model:
    return _classifier([keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(hp.Int("units", 4, 8))])


def narrow(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 4, 8))])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def few_classes(hp: keras_tuner.HyperParameters) -> keras.Model:
    """For two classes, where the data has three: an error of the graph."""
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 4, 8)), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def per_class(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A metric of several numbers."""
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 4, 8)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    return model


def raising(hp: keras_tuner.HyperParameters) -> keras.Model:
    raise KeyError(f"no model for {hp.Int('units', 4, 8)}")


def picky(hp: keras_tuner.HyperParameters) -> keras.Model:
    """No model for an odd number of units, nor for few and many."""
    units, activation = hp.Int("units", 4, 40), hp.Choice("activation", ["relu", "tanh"])
    if units % 2 or not 8 <= units <= 32:
        raise keras_tuner.errors.FailedTrialError(f"{units} units are not wanted")
    return _classifier([keras.layers.Dense(units, activation)])


def hungry(hp: keras_tuner.HyperParameters) -> keras.Model:
    raise tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating {hp.Int('units', 4, 8)} terabytes")


def weighted() -> Any:
    """The blobs with a weight per row."""
    (x, y), (x_val, y_val) = blobs()
    random = np.random.default_rng(2)
    return (x, y, random.uniform(0.1, 2.0, 90).astype("float32")), (x_val, y_val, np.full(30, 0.5, "float32"))


def indicators() -> Any:
    """The blobs with one-hot targets."""
    (x, y), (x_val, y_val) = blobs()
    return (x, np.eye(3, dtype="float32")[y]), (x_val, np.eye(3, dtype="float32")[y_val])


def pictures() -> Any:
    """The blobs as pictures of 2 x 2."""
    (x, y), (x_val, y_val) = blobs()
    return (x.reshape(90, 2, 2), y), (x_val.reshape(30, 2, 2), y_val)
