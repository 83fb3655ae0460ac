"""Models written for KerasTuner, used here as they are: `model: examples.keras_tuner_models:build_model`.

A `build(hp)` function with a conditional scope, a `HyperModel` that chooses its batch size in its own `fit`, and
a subclassed model with its own `train_step`. All expect 8 x 8 images of ten digits, see examples/digits.py.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner
import tensorflow as tf


def build_model(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A network whose depth, widths, dropout and optimizer are tuned; `momentum` exists for SGD only."""
    model = keras.Sequential([keras.layers.Flatten()])
    for i in range(hp.Int("num_layers", 1, 3)):
        with hp.conditional_scope("num_layers", list(range(i + 1, 4))):
            model.add(
                keras.layers.Dense(
                    units=hp.Int(f"units_{i}", min_value=16, max_value=64, step=16),
                    activation=hp.Choice("activation", ["relu", "tanh"]),
                    kernel_regularizer=keras.regularizers.L2(hp.Float("l2", 1e-6, 1e-2, sampling="log")),
                )
            )
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(rate=0.25))
    model.add(keras.layers.Dense(10, activation="softmax"))
    learning_rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd":
        with hp.conditional_scope("optimizer", ["sgd"]):
            momentum = hp.Float("momentum", 0.0, 0.9)
            optimizer: Any = keras.optimizers.SGD(learning_rate, momentum=momentum)
    else:
        optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class DigitsHyperModel(keras_tuner.HyperModel):
    """Tunes how the model is trained as well as how it is built: batch size and shuffling in `fit`."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        inputs = keras.Input((8, 8))
        hidden = keras.layers.Flatten()(inputs)
        hidden = keras.layers.Dense(hp.Int("units", 16, 64, step=16), activation="relu")(hidden)
        model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        return model.fit(
            *args,
            batch_size=hp.Choice("batch_size", [32, 64]),
            shuffle=hp.Boolean("shuffle"),
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="examples")
class NoisyNetwork(keras.Model):
    """A subclassed model with its own `train_step`: it trains on inputs with Gaussian noise added."""

    def __init__(self, units: int, noise: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.noise = units, noise
        self.flatten = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(units, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4))
        self.outputs = keras.layers.Dense(10, activation="softmax")

    def call(self, inputs: Any) -> Any:
        return self.outputs(self.hidden(self.flatten(inputs)))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        x = x + tf.random.normal(tf.shape(x), stddev=self.noise)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "noise": self.noise}


def build_noisy(hp: keras_tuner.HyperParameters) -> keras.Model:
    """How much noise is the question: it regularizes, and the best amount depends on the data."""
    model = NoisyNetwork(hp.Int("units", 16, 64, step=16), hp.Float("noise", 0.01, 0.5, sampling="log"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
