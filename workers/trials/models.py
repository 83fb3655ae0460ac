"""From a study's model and a trial's parameters to a compiled Keras model: the `mlp` family or a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from workers.contract import Training
from workers.data import Parts
from workers.entry_points import resolve
from workers.trials.hyperparameters import HyperParameters, filled, own_fit

DEFAULTS: dict[str, Any] = {
    "depth": 2,
    "width": 64,
    "activation": "relu",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "l1": 0.0,
    "l2": 0.0,
    "dropout": 0.0,
    "batch_size": 32,
}
"""What the `mlp` family takes for a parameter that its space does not have."""

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda learning_rate: keras.optimizers.SGD(learning_rate, momentum=0.9),
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "ftrl": keras.optimizers.Ftrl,
    "adamw": keras.optimizers.AdamW,
}

LAYERS: dict[str, Callable[[], Any]] = {
    "leaky_relu": keras.layers.LeakyReLU,
    "prelu": keras.layers.PReLU,
}
"""Activations that are layers of their own; every other name is one that `keras.layers.Dense` knows."""


class ModelError(ValueError):
    """The study's model cannot be built, or is not what can be trained. One sentence."""


@dataclass(frozen=True)
class Built:
    """A compiled model and what it was built with."""

    model: keras.Model
    hp: HyperParameters
    fit: Callable[..., Any] | None = None  # the HyperModel's own `fit(hp, model, ...)`, where it has one


def build(training: Training, params: Mapping[str, Any], parts: Parts) -> Built:
    """Build and compile the model of a trial. Seed the generators first (workers/trials/seeds.py).

    The same study, parameters and data give the same architecture each time: weights can be loaded into it.

    Raises:
        ModelError: the model does not suit the data, or the builder returned something else than a compiled model.
        EntryPointError: `training.model` names nothing.
    """
    hp = filled(params)
    if training.model == "mlp":
        return Built(mlp(params, parts), hp)
    return build_with(training, hp)


def build_with(training: Training, hp: HyperParameters) -> Built:
    """Call the user's builder with `hp`; otherwise like `build`."""
    builder = load_builder(training)
    model = builder.build(hp) if hasattr(builder, "build") else builder(hp)
    _require_compiled(model, training.model)
    return Built(model, hp, own_fit(builder))


def load_builder(training: Training) -> Any:
    """A `build(hp)` function or a HyperModel instance; a HyperModel class is instantiated without arguments."""
    builder = resolve(training.model, training.import_paths)
    if isinstance(builder, type):
        try:
            inspect.signature(builder).bind()
        except TypeError:
            raise ModelError(
                f"The class {training.model!r} cannot be created without arguments. Name an instance of it instead: "
                f"a module-level variable such as `tuned = {builder.__name__}(...)`, or give it to create_study()."
            ) from None
        builder = builder()
    if not callable(getattr(builder, "build", builder)):
        raise ModelError(
            f"{training.model!r} is a {type(builder).__name__}; expected a function build(hp) or a HyperModel."
        )
    return builder


def mlp(params: Mapping[str, Any], parts: Parts) -> keras.Model:
    """A stack of Dense layers, compiled for the data's task.

    Images and other inputs of rank above 1 are flattened. Classification: softmax over the classes, cross-entropy,
    accuracy. Regression: the last layer's answer is scaled by the train targets' mean and deviation, so the model
    answers in the targets' units, and the mean squared error is divided by the targets' variance. A loss of 1 is
    thus what the mean alone would score (it is 1 - R^2), and learning rates and lambdas mean the same for dollars
    and for cents; `mae` is in the targets' units.
    """
    values = complete(params)
    stack = [keras.Input(_input_shape(parts)), *_hidden(values, flatten=len(_input_shape(parts)) > 1)]
    compile_arguments: dict[str, Any]
    if parts.task == "classification":
        output, compile_arguments = _classifier(parts)
    elif parts.task == "regression":
        output, compile_arguments = _regressor(parts)
    else:
        raise ModelError(
            "The mlp family needs one column of targets to classify or to regress; this data says neither. "
            'Set data.task to "classification" or "regression", or give a build(hp) of your own.'
        )
    model = keras.Sequential([*stack, *output], name="mlp")
    # XLA takes seconds to compile a model that trains in one.
    model.compile(OPTIMIZERS[values["optimizer"]](values["learning_rate"]), jit_compile=False, **compile_arguments)
    return model


def complete(params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters with the family's defaults. Raises ModelError for one that the family does not have."""
    unknown = sorted(set(params) - set(DEFAULTS))
    if unknown:
        raise ModelError(f"The mlp family has no parameter {', '.join(unknown)}; it has {', '.join(DEFAULTS)}.")
    return {**DEFAULTS, **params}


def _input_shape(parts: Parts) -> tuple[int | None, ...]:
    shape = parts.input_shape
    if isinstance(shape, Mapping) or any(isinstance(axis, tuple | list) for axis in shape):
        raise ModelError(
            f"The mlp family takes one input; this data has several: {shape}. Give a build(hp) of your own."
        )
    if any(axis is None for axis in shape):
        raise ModelError(f"The mlp family takes inputs of one fixed shape; this data has {tuple(shape)}.")
    return tuple(shape)


def _hidden(values: Mapping[str, Any], *, flatten: bool) -> list[Any]:
    stack: list[Any] = [keras.layers.Flatten()] if flatten else []
    name = values["activation"]
    for _ in range(values["depth"]):
        activation = None if name in LAYERS else name
        regularizer = keras.regularizers.L1L2(values["l1"], values["l2"]) if values["l1"] or values["l2"] else None
        stack.append(keras.layers.Dense(values["width"], activation, kernel_regularizer=regularizer))
        if name in LAYERS:
            stack.append(LAYERS[name]())
        if values["dropout"]:
            stack.append(keras.layers.Dropout(values["dropout"]))
    return stack


def _classifier(parts: Parts) -> tuple[list[Any], dict[str, Any]]:
    if not parts.classes:
        raise ModelError("The mlp family needs to know the number of classes, and this data does not say it.")
    loss = "categorical_crossentropy" if one_hot(parts) else "sparse_categorical_crossentropy"
    return [keras.layers.Dense(parts.classes, "softmax")], {"loss": loss, "metrics": ["accuracy"]}


def one_hot(parts: Parts) -> bool:
    """Whether the classes are given as indicators (rows, classes) instead of numbers (rows,)."""
    return parts.train.y is not None and np.ndim(parts.train.y) == 2 and np.shape(parts.train.y)[1] > 1


def _regressor(parts: Parts) -> tuple[list[Any], dict[str, Any]]:
    mean, deviation = target_moments(parts)
    output = [keras.layers.Dense(mean.size), keras.layers.Rescaling(deviation.tolist(), mean.tolist())]
    weight = 1.0 / float(np.mean(deviation**2))
    return output, {"loss": "mse", "loss_weights": weight, "metrics": ["mae"]}


def target_moments(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the train targets per column; 0 and 1 for a dataset, which is not read for it."""
    if parts.train.y is None:
        spec = parts.train.dataset.element_spec[1]
        width = spec.shape[1] if len(spec.shape) > 1 else 1
        return np.zeros(width), np.ones(width)
    targets = np.asarray(parts.train.y, dtype="float64").reshape(len(parts.train.y), -1)
    deviation = targets.std(axis=0)
    return targets.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


def _require_compiled(model: Any, entry_point: str) -> None:
    if not isinstance(model, keras.Model):
        given = "None" if model is None else f"a {type(model).__name__}"
        raise ModelError(f"{entry_point!r} returned {given}; expected a compiled keras.Model. Is a `return` missing?")
    if not getattr(model, "compiled", False):
        raise ModelError(
            f"{entry_point!r} returned a model that is not compiled. Call "
            "model.compile(optimizer=..., loss=..., metrics=[...]) before it is returned."
        )
