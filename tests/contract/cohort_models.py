"""Models of users for the tests of cohorts, one per thing that a stack must do as Keras does it. Imported by name."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from keras_tuner import HyperParameters as Hp


def _rate(hp: Hp) -> float:
    return float(hp.Float("rate", 1e-4, 1e-1, sampling="log", default=1e-2))


def _l2(hp: Hp) -> keras.regularizers.Regularizer:
    return keras.regularizers.L1L2(hp.Float("l1", 0.0, 1e-2), hp.Float("l2", 0.0, 1e-1))


def _classifier(hp: Hp, hidden: list[Any], shape: tuple[int, ...] = (4,), **compiled: Any) -> keras.Model:
    model = keras.Sequential([keras.Input(shape), *hidden, layers.Dense(3, "softmax")])
    given = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled}
    model.compile(keras.optimizers.Adam(_rate(hp)), **given, jit_compile=False)
    return model


def dense(hp: Hp) -> keras.Model:
    """The optimizer keeps a number per member beside its numbers per weight."""
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, "tanh", kernel_regularizer=_l2(hp)), layers.Dense(3, "softmax")]
    )
    optimizer = keras.optimizers.Nadam(_rate(hp), weight_decay=1e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def normalized(hp: Hp) -> keras.Model:
    """Moving statistics, a norm per row, slopes of its own, and a penalty on some of it."""
    hidden = [
        layers.Dense(6, use_bias=False, kernel_regularizer=_l2(hp)),
        layers.BatchNormalization(momentum=0.8, gamma_regularizer=_l2(hp)),
        layers.PReLU(),
        layers.Dense(5, "gelu"),
        layers.LayerNormalization(),
    ]
    return _classifier(hp, hidden)


def noisy(hp: Hp) -> keras.Model:
    hidden = [
        layers.GaussianNoise(hp.Float("noise", 0.0, 0.5)),
        layers.Dense(8, "relu", kernel_regularizer=_l2(hp)),
        layers.Dropout(hp.Float("dropout", 0.0, 0.5)),
        layers.GaussianDropout(hp.Float("noise", 0.0, 0.5)),
    ]
    return _classifier(hp, hidden)


def measured(hp: Hp) -> keras.Model:
    """A loss object, and metrics that are no means over rows."""
    metrics = [keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score(), "mae"]
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "relu", kernel_regularizer=_l2(hp)), layers.Dense(1)])
    model.compile(
        keras.optimizers.Adam(_rate(hp)), keras.losses.Huber(delta=2.0), metrics=metrics, weighted_metrics=["mse"],
        jit_compile=False,
    )  # fmt: skip
    return model


class Scaled(keras.layers.Layer):
    """Its factor is in no configuration: only a comparison of each member finds it."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self._factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self._factor

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def scaled(hp: Hp) -> keras.Model:
    return _classifier(hp, [layers.Dense(4, "relu"), Scaled(hp.Float("factor", 0.5, 2.0))])


def wide(hp: Hp) -> keras.Model:
    return _classifier(hp, [layers.Dense(hp.Int("width", 4, 100_000), "relu")])


class Halved(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's own."""

    def __init__(self, first: float) -> None:
        self._first = first

    def __call__(self, step: Any) -> Any:
        return self._first / (1 + keras.ops.cast(step, "float32"))


def scheduled(hp: Hp) -> keras.Model:
    model = _classifier(hp, [layers.Dense(4, "relu")])
    model.compile(keras.optimizers.SGD(Halved(_rate(hp))), "sparse_categorical_crossentropy", jit_compile=False)
    return model


class Subclassed(keras.Model):
    """Built on its first call, without a train step of its own."""

    def __init__(self, hp: Hp) -> None:
        super().__init__()
        self.hidden = layers.Dense(4, "relu", kernel_regularizer=_l2(hp))
        self.answer = layers.Dense(3, "softmax")

    def call(self, inputs: Any) -> Any:
        return self.answer(self.hidden(inputs))


def subclassed(hp: Hp) -> keras.Model:
    model = Subclassed(hp)
    model.compile(
        keras.optimizers.Adam(_rate(hp)), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    return model


def wide_and_deep(hp: Hp) -> keras.Model:
    wide, deep = keras.Input((2,), name="wide"), keras.Input((2,), name="deep")
    hidden = layers.Dense(4, "relu", kernel_regularizer=_l2(hp))(deep)
    answer = layers.Dense(3, "softmax")(layers.Concatenate()([wide, hidden]))
    model = keras.Model({"wide": wide, "deep": deep}, answer)
    model.compile(
        keras.optimizers.Adam(_rate(hp)), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    return model


def convolved(hp: Hp) -> keras.Model:
    """A convolution has no form for many members at once."""
    hidden = [layers.Conv2D(3, 2, padding="same", activation="relu", kernel_regularizer=_l2(hp)), layers.Flatten()]
    return _classifier(hp, hidden, (2, 2, 1))


def halves() -> Any:
    """Three classes in two inputs of two columns."""
    random = np.random.default_rng(4)
    y = random.integers(0, 3, 120)
    x = (random.normal(size=(3, 4))[y] + 0.5 * random.normal(size=(120, 4))).astype("float32")
    split = {"wide": x[:, :2], "deep": x[:, 2:]}
    return [({name: part[rows] for name, part in split.items()}, y[rows]) for rows in (slice(90), slice(90, None))]


def words() -> Any:
    """Sequences of five words out of seven, often the same one."""
    random = np.random.default_rng(3)
    x = random.integers(0, 7, (120, 5)).astype("int32")
    y = (x.sum(axis=1) % 3).astype("int64")
    return (x[:90], y[:90]), (x[90:], y[90:])


def averaged(hp: Hp) -> keras.Model:
    model = _classifier(hp, [layers.Dense(4, "relu")])
    model.compile(keras.optimizers.SGD(_rate(hp), use_ema=True), "sparse_categorical_crossentropy")
    return model


def orthogonal(hp: Hp) -> keras.Model:
    regularizer = keras.regularizers.OrthogonalRegularizer(hp.Float("l2", 0.0, 1.0))
    return _classifier(hp, [layers.Dense(4, "relu", kernel_regularizer=regularizer)])


class Centred(keras.constraints.Constraint):
    def __call__(self, w: Any) -> Any:
        return w - keras.ops.mean(w)


def centred(hp: Hp) -> keras.Model:
    return _classifier(hp, [layers.Dense(4, "relu", kernel_constraint=Centred())])


class Pressed(keras.layers.Layer):
    """Adds a loss of its own to the model's."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


def pressed(hp: Hp) -> keras.Model:
    return _classifier(hp, [layers.Dense(4, "relu", kernel_regularizer=_l2(hp)), Pressed()])


def looked_up(hp: Hp) -> keras.Model:
    return _classifier(hp, [layers.Embedding(7, 3, name="words"), layers.Flatten()], (5,))


def looked_up_and_clipped(hp: Hp) -> keras.Model:
    model = looked_up(hp)
    model.compile(keras.optimizers.SGD(_rate(hp), clipnorm=1.0), "sparse_categorical_crossentropy")
    return model
