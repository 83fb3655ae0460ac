"""What members of a stack may differ in, lifted out of their Keras models: equal rests can train as one program.

A compiled model is described by its configuration. The numbers that a stack holds per member (learning rate and its
like, L1 and L2, dropout and noise rates) are taken out of it, and so is what only says how weights begin or what things
are called: initial weights are read from each member's own model. Models with equal rests differ in numbers alone.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from workers.cohorts.updates import UPDATES
from workers.failures import CannotStack

RATES = ("learning_rate", "weight_decay", "momentum", "rho", "beta_1", "beta_2", "epsilon")
"""Arguments of an optimizer in which members may differ."""

NOISE = {"Dropout": "rate", "SpatialDropout1D": "rate", "SpatialDropout2D": "rate", "SpatialDropout3D": "rate",
         "GaussianDropout": "rate", "GaussianNoise": "stddev"}  # fmt: skip
"""Keras' layers whose noise all members share, each cut at its own rate; and what that is called."""

_PENALTIES = {"L1", "L2", "L1L2"}
_OURS = ("train_step", "test_step", "compute_loss", "compute_metrics", "get_metrics_result", "fit", "evaluate")
_NAMING = {"name", "keras_history", "input_layers", "output_layers"}
_OPTIONS = {
    "clipnorm": "clips gradients",
    "global_clipnorm": "clips gradients",
    "clipvalue": "clips gradients",
    "use_ema": "averages weights",
    "gradient_accumulation_steps": "accumulates gradients",
    "loss_scale_factor": "scales the loss",
}


@dataclass(frozen=True)
class Lifted:
    """A model without its numbers, and the numbers."""

    rest: str  # canonical JSON: equal for models that one program can train
    values: tuple[float, ...]  # in the order of `Columns`
    custom: bool  # whether code of the user's own is in it, of which a configuration need not say everything


@dataclass(frozen=True)
class Columns:
    """Where each lifted number of a model stands in its row."""

    rates: tuple[str, ...]  # of RATES, those that the optimizer has
    noise: int  # noisy layers
    trainable: int  # weights, each with an L1 and an L2

    @property
    def count(self) -> int:
        """Numbers in a row."""
        return len(self.rates) + self.noise + 2 * self.trainable

    def split(self, hyper: Any) -> tuple[dict[str, Any], Any, Any, Any]:
        """Of rows (K, H): the optimizer's numbers by name (K, 1), noise rates, L1 and L2 per weight."""
        first, second = len(self.rates), len(self.rates) + self.noise
        rates = {name: hyper[:, place : place + 1] for place, name in enumerate(self.rates)}
        third = second + self.trainable
        return rates, hyper[:, first:second], hyper[:, second:third], hyper[:, third:]


def columns(model: keras.Model) -> Columns:
    """Where the numbers of this model and of those with an equal rest stand."""
    config = model.optimizer.get_config()
    rates = tuple(name for name in RATES if name in config)
    return Columns(rates, len(noisy_layers(model)), len(model.trainable_weights))


def noisy_layers(model: keras.Model) -> list[Any]:
    """The layers that draw noise, in Keras' order."""
    return [layer for layer in _layers(model) if _is_keras(layer) and type(layer).__name__ in NOISE]


def lift(model: keras.Model) -> Lifted:
    """Take the numbers out of a compiled model whose weights exist.

    Raises:
        CannotStack: it has something that a stack cannot do as Keras does it.
    """
    _require_plain(model)
    _require_optimizer(model.optimizer)
    _require_layers(model)
    config = model.optimizer.get_config()
    penalties = [_penalty(weight) for weight in model.trainable_weights]
    return Lifted(
        rest=json.dumps(_rest(model), sort_keys=True, default=str),
        values=(
            *(float(config[name] or 0.0) for name in RATES if name in config),
            *(float(getattr(layer, NOISE[type(layer).__name__])) for layer in noisy_layers(model)),
            *(l1 for l1, _ in penalties),
            *(l2 for _, l2 in penalties),
        ),
        custom=not _is_keras(model) or not all(map(_is_keras, _layers(model))) or _has_own_code(_configs(model)),
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
        if weight.constraint is not None:
            raise CannotStack(f"the weight {weight.path} has a constraint")


def _require_optimizer(optimizer: Any) -> None:
    name = type(optimizer).__name__
    if not _is_keras(optimizer) or name not in UPDATES:
        raise CannotStack(f"stacks do not know the optimizer {name}; they know {', '.join(UPDATES)}")
    config = optimizer.get_config()
    if not isinstance(config["learning_rate"], float):
        raise CannotStack("the learning rate follows a schedule")
    for option, does in _OPTIONS.items():
        if config.get(option):
            raise CannotStack(f"the optimizer {does} ({option}={config[option]})")
    if getattr(optimizer, "_exclude_from_weight_decay", None) or getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    ):
        raise CannotStack("the optimizer leaves some weights out of its weight decay")


def _require_layers(model: keras.Model) -> None:
    for layer in _layers(model):
        if getattr(layer, "activity_regularizer", None) is not None:
            raise CannotStack(f"the layer {layer.name} has an activity regularizer")
        if type(layer).__name__ == "Embedding" and type(model.optimizer).__name__ != "SGD":
            raise CannotStack(
                f"the layer {layer.name} is an Embedding: {type(model.optimizer).__name__} takes another step for the "
                "words of a batch than for all weights at once"
            )
        noisy = type(layer).__name__ in NOISE and _is_keras(layer)
        if layer._seed_generators and not noisy and not _is_quiet(layer):
            raise CannotStack(f"the layer {layer.name} ({type(layer).__name__}) draws numbers of its own")


def _is_quiet(layer: Any) -> bool:
    """Whether a recurrent layer, which always has a generator, never draws from it."""
    return _is_keras(layer) and getattr(layer, "dropout", None) == getattr(layer, "recurrent_dropout", None) == 0


def _penalty(weight: Any) -> tuple[float, float]:
    regularizer = weight.regularizer
    if regularizer is None:
        return 0.0, 0.0
    if not _is_keras(regularizer) or type(regularizer).__name__ not in _PENALTIES:
        raise CannotStack(f"the weight {weight.path} has a regularizer other than L1 and L2")
    return float(getattr(regularizer, "l1", 0.0)), float(getattr(regularizer, "l2", 0.0))


# --- the rest -----------------------------------------------------------------------------------------------------


def _rest(model: keras.Model) -> Any:
    config = _configs(model)
    names: dict[str, int] = {}
    for name in (model.name, *_layer_names(config["model"])):
        names.setdefault(name, len(names))
    optimizer = model.optimizer.get_config()
    kept = {name: value for name, value in optimizer.items() if name not in RATES and name != "name"}
    weights = [[list(weight.shape), weight.trainable] for weight in model.weights]
    return [
        type(model).__module__,
        type(model).__qualname__,
        type(model.optimizer).__name__,
        {**kept, "decays": optimizer["weight_decay"] is not None},
        weights,
        _without_numbers(config["model"], "", names),
        _without_numbers(config["compiled"], "", {}),
    ]


def _configs(model: keras.Model) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a lambda cannot be loaded safely: nothing is loaded
        if _is_keras(model):
            described = model.get_config()
        else:  # what a class of the user's says about itself need not be its layers
            layers = [layer for layer in _layers(model) if _is_keras(layer)]
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
    if key.endswith(("_initializer", "_regularizer")) or key == "seed":
        return None  # regularizers that are not L1 or L2 were refused, weight by weight
    if isinstance(value, Mapping):
        blank = NOISE.get(str(value.get("class_name")))
        rest = {name: _without_numbers(item, str(name), names) for name, item in value.items()}
        if blank is not None and isinstance(rest.get("config"), dict):
            rest["config"].pop(blank, None)
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


def _layers(model: keras.Model) -> list[Any]:
    return list(model._flatten_layers(include_self=False))


def _is_keras(thing: Any) -> bool:
    return type(thing).__module__.split(".")[0] == "keras"
