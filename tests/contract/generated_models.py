"""Models of users that a test makes up: `build` follows the recipe among a trial's parameters. Imported by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers
from keras_tuner import HyperParameters as Hp


def _l1l2(hp: Hp) -> keras.regularizers.Regularizer:
    return keras.regularizers.L1L2(hp.values["l1"], hp.values["l2"])


def _constraint(hp: Hp) -> Any:
    """Along the inputs of a unit, in whatever layer."""
    recipe, bound = hp.values["recipe"], hp.values["bound"]
    own = {"MaxNorm": {"max_value": bound}, "MinMaxNorm": {"min_value": bound / 2, "max_value": bound, "rate": 0.5}}
    name = recipe["constraint"]
    if name is None:
        return None
    axes = {} if name == "NonNeg" else {"axis": [0, 1, 2] if recipe["kind"] == "picture" else 0}
    return getattr(keras.constraints, name)(**own.get(name, {}), **axes)


def _dense(activation: str) -> Callable[[Hp], list[Any]]:
    def make(hp: Hp) -> list[Any]:
        recipe = hp.values["recipe"]
        constraint = None if recipe["kind"] == "picture" else _constraint(hp)
        activity = _l1l2(hp) if recipe["active"] else None
        options = {"kernel_constraint": constraint, "activity_regularizer": activity}
        return [layers.Dense(4, activation, kernel_regularizer=_l1l2(hp), **options)]

    return make


def _normalized(hp: Hp) -> list[Any]:
    """Something bent comes before it: of what only shifts its inputs the gradient is nothing but rounding."""
    return [
        layers.Dense(5, "tanh", kernel_regularizer=_l1l2(hp)),
        layers.BatchNormalization(momentum=0.8, gamma_regularizer=_l1l2(hp)),
    ]


BLOCKS: dict[str, Callable[[Hp], list[Any]]] = {
    "relu": _dense("relu"),
    "tanh": _dense("tanh"),
    "gelu": _dense("gelu"),
    "batch_normalization": _normalized,
    "layer_normalization": lambda _: [layers.LayerNormalization()],
    "prelu": lambda _: [layers.PReLU(alpha_initializer="random_normal")],
    "dropout": lambda hp: [layers.Dropout(hp.values["noise"])],
    "gaussian_noise": lambda hp: [layers.GaussianNoise(hp.values["noise"])],
    "gaussian_dropout": lambda hp: [layers.GaussianDropout(hp.values["noise"])],
}

HEADS: dict[str, Callable[[Hp], list[Any]]] = {
    "rows": lambda _: [],
    "picture": lambda hp: [
        layers.Reshape((2, 2, 1)),
        layers.Conv2D(
            3, 2, padding="same", activation="relu", kernel_regularizer=_l1l2(hp), kernel_constraint=_constraint(hp)
        ),
        layers.Flatten(),
    ],
    "sequence": lambda hp: [layers.Reshape((2, 2)), layers.LSTM(3, recurrent_regularizer=_l1l2(hp))],
    "words": lambda hp: [layers.Embedding(7, 3, embeddings_regularizer=_l1l2(hp)), layers.GlobalAveragePooling1D()],
    "wide": lambda _: [],
}
"""What stands before the blocks, by the kind of input."""


def build(hp: Hp) -> keras.Model:
    """`recipe`: the kind of input, the blocks and what is done to their weights, the optimizer with its options."""
    recipe: dict[str, Any] = hp.values["recipe"]
    hidden = [*HEADS[recipe["kind"]](hp), *(layer for block in recipe["blocks"] for layer in BLOCKS[block](hp))]
    answer = layers.Dense(3, "softmax")
    numbers = {name: hp.values[name] for name in recipe["numbers"]}
    if recipe["schedule"] is not None:
        schedule, options = recipe["schedule"]
        numbers["learning_rate"] = getattr(keras.optimizers.schedules, schedule)(numbers["learning_rate"], **options)
    optimizer = getattr(keras.optimizers, recipe["optimizer"])(**recipe["options"], **numbers)
    model = _model(recipe, hidden, answer)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def _model(recipe: dict[str, Any], hidden: list[Any], answer: Any) -> keras.Model:
    if recipe["kind"] == "wide":
        wide, deep = keras.Input((2,), name="wide"), keras.Input((2,), name="deep")
        return keras.Model({"wide": wide, "deep": deep}, answer(layers.Concatenate()([wide, _through(hidden, deep)])))
    inputs = keras.Input((5,) if recipe["kind"] == "words" else (4,))
    if recipe["sequential"]:
        return keras.Sequential([inputs, *hidden, answer])
    return keras.Model(inputs, answer(_through(hidden, inputs)))


def _through(hidden: list[Any], values: Any) -> Any:
    for layer in hidden:
        values = layer(values)
    return values
