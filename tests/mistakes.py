"""User code with one mistake each: models, data and loops that a study must not be accepted with."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, FEATURES = 48, 3


# --- models -----------------------------------------------------------------------------------------------------------


def good(hp: Any) -> Any:
    """A model without a mistake, for data that has one."""
    return _compiled([_keras().layers.Dense(hp.Int("units", 2, 4))])


def returns_nothing(hp: Any) -> None:
    _compiled([_keras().layers.Dense(hp.Int("units", 2, 4))])


def never_compiled(hp: Any) -> Any:
    return _keras().Sequential([_keras().layers.Dense(hp.Int("units", 2, 4)), _keras().layers.Dense(1)])


def with_a_lambda_layer(hp: Any) -> Any:
    return _compiled([_keras().layers.Dense(hp.Int("units", 2, 4)), _keras().layers.Lambda(lambda x: x * 2)])


def for_other_inputs(hp: Any) -> Any:
    keras = _keras()
    return _compiled([keras.Input((FEATURES + 4,)), keras.layers.Dense(hp.Int("units", 2, 4))])


def raises(hp: Any) -> Any:
    raise KeyError(f"no layer for {hp.Int('units', 2, 4)}")


def without_a_parameter() -> Any:
    return None


NOT_CALLABLE = 3


def _keras() -> Any:
    import keras

    return keras


def _compiled(layers: list[Any]) -> Any:
    model = _keras().Sequential([*layers, _keras().layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


# --- data -------------------------------------------------------------------------------------------------------------


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Data without a mistake, for models that have one."""
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def nan_labels() -> tuple[np.ndarray, np.ndarray]:
    x, y = rows()
    y[7] = np.nan
    return x, y


def no_rows() -> tuple[np.ndarray, np.ndarray]:
    x, y = rows()
    return x[:0], y[:0]


def no_validation_rows() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return rows(), no_rows()


def other_lengths() -> tuple[np.ndarray, np.ndarray]:
    x, y = rows()
    return x, y[:-1]


def not_arrays() -> str:
    return "train.csv"


# --- loops ------------------------------------------------------------------------------------------------------------


def loop_without_a_parameter() -> None:
    """A loop must take its run."""
