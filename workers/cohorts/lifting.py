"""What members of a stack may differ in, lifted out of their Keras models: equal rests can train as one program.

A compiled model is described by its configuration. The numbers that a stack holds per member (learning rate and its
like, L1 and L2, dropout and noise rates, bounds of norms) are taken out of it, and so is what only says how weights
begin or what things are called: initial weights are read from each member's own model. Models with equal rests differ
in numbers alone.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from workers.cohorts import constraints, optimizers
from workers.cohorts.columns import columns, row_of_numbers
from workers.cohorts.kinds import NOISE, is_keras, layers_of
from workers.failures import CannotStack

_OURS = ("train_step", "test_step", "compute_loss", "compute_metrics", "get_metrics_result", "fit", "evaluate")
_NAMING = {"name", "keras_history", "input_layers", "output_layers"}
_LIFTED = {**{name: (number,) for name, number in NOISE.items()}, **constraints.NUMBERS}
"""By the names of Keras' classes, what of their configuration is lifted."""


@dataclass(frozen=True)
class Lifted:
    """A model without its numbers, and the numbers."""

    rest: str  # canonical JSON: equal for models that one program can train
    values: tuple[float, ...]  # in the order of `Columns`
    custom: bool  # whether code of the user's own is in it, of which a configuration need not say everything


def lift(model: keras.Model) -> Lifted:
    """Take the numbers out of a compiled model whose weights exist.

    Raises:
        CannotStack: it has something that a stack cannot do as Keras does it.
    """
    _require_plain(model)
    optimizers.require_known(model.optimizer)
    _require_layers(model)
    return Lifted(
        values=row_of_numbers(model),
        rest=json.dumps(_rest(model), sort_keys=True, default=str),
        custom=not is_keras(model) or not all(map(is_keras, layers_of(model))) or _has_own_code(_configs(model)),
    )


def _require_plain(model: keras.Model) -> None:
    for name in _OURS:
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise CannotStack(f"the model has a {name} of its own")
    if model._compile_loss is None:
        raise CannotStack("the model is compiled without a loss")
    if model.run_eagerly:
        raise CannotStack("the model is compiled with run_eagerly=True")
    if len(getattr(model, "outputs", None) or [None]) > 1:
        raise CannotStack("the model has several outputs")
    if not model.trainable_weights:
        raise CannotStack("the model has no weights to train")
    for weight in model.weights:
        if weight.trainable and weight.dtype != "float32":
            raise CannotStack(f"the weight {weight.path} is {weight.dtype}; stacks compute in float32")


def _require_layers(model: keras.Model) -> None:
    optimizer = type(model.optimizer).__name__
    clips = any(getattr(model.optimizer, name) for name in optimizers.CLIPS)
    for layer in layers_of(model):
        if type(layer).__name__ == "Embedding" and (clips or optimizer != "SGD"):
            does = "clips another gradient" if clips else "takes another step"
            raise CannotStack(
                f"the layer {layer.name} is an Embedding: {optimizer} {does} for the words of a batch than for all "
                "weights at once"
            )
        noisy = type(layer).__name__ in NOISE and is_keras(layer)
        if layer._seed_generators and not noisy and not _is_quiet(layer):
            raise CannotStack(f"the layer {layer.name} ({type(layer).__name__}) draws numbers of its own")


def _is_quiet(layer: Any) -> bool:
    """Whether a recurrent layer, which always has a generator, never draws from it."""
    return is_keras(layer) and getattr(layer, "dropout", None) == getattr(layer, "recurrent_dropout", None) == 0


# --- the rest -----------------------------------------------------------------------------------------------------


def _rest(model: keras.Model) -> Any:
    config = _configs(model)
    names: dict[str, int] = {}
    for name in (model.name, *_layer_names(config["model"])):
        names.setdefault(name, len(names))
    weights = [[list(weight.shape), weight.trainable] for weight in model.weights]
    return [
        type(model).__module__,
        type(model).__qualname__,
        type(model.optimizer).__name__,
        optimizers.rest(model.optimizer),
        str(columns(model)),
        weights,
        _without_numbers(config["model"], "", names),
        _without_numbers(config["compiled"], "", {}),
    ]


def _configs(model: keras.Model) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a lambda cannot be loaded safely: nothing is loaded
        if is_keras(model):
            described = model.get_config()
        else:  # what a class of the user's says about itself need not be its layers
            layers = [layer for layer in layers_of(model) if is_keras(layer)]
            described = {"layers": [keras.saving.serialize_keras_object(layer) for layer in layers]}
        compiled = model.get_compile_config()
    used = ("loss", "loss_weights", "metrics", "weighted_metrics")
    return {"model": described, "compiled": {name: compiled.get(name) for name in used}}


def _layer_names(config: Any) -> Iterator[str]:
    for layer in config.get("layers", ()):
        inner = layer["config"]
        if isinstance(inner, Mapping):
            yield str(inner.get("name"))
            yield from _layer_names(inner)


def _without_numbers(value: Any, key: str, names: Mapping[str, int]) -> Any:
    """The configuration below `key` without what members may differ in; layers are numbered instead of named."""
    if key == "activity_regularizer":
        return value is not None  # it has columns of its own
    if key.endswith(("_initializer", "_regularizer")) or key == "seed":
        return None  # regularizers that are not L1 or L2 were refused
    if isinstance(value, Mapping):
        lifted = _LIFTED.get(str(value.get("class_name")), ())
        rest = {name: _without_numbers(item, str(name), names) for name, item in value.items()}
        if lifted and isinstance(rest.get("config"), dict):
            rest["config"] = {name: item for name, item in rest["config"].items() if name not in lifted}
        return rest
    if isinstance(value, list | tuple):
        return [_without_numbers(item, key, names) for item in value]
    return names.get(value, value) if isinstance(value, str) and key in _NAMING else value


def _has_own_code(value: Any) -> bool:
    """Whether a configuration names a function or a class that is not Keras' own."""
    if isinstance(value, Mapping):
        module = value.get("module", "keras")
        foreign = "class_name" in value and (not str(module).startswith("keras") or value.get("registered_name"))
        return bool(foreign) or set(value) == {"value"} or any(map(_has_own_code, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_own_code, value))
