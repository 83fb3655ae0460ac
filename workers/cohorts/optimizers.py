"""What members of a stack may differ in of an optimizer: its numbers, and those of its learning rate's schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts.kinds import is_keras
from workers.cohorts.updates import UPDATES, Settings
from workers.failures import CannotStack

CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")
NUMBERS = ("weight_decay", "momentum", "rho", "beta_1", "beta_2", "epsilon", *CLIPS)
"""Arguments of an optimizer in which members may differ, beside the learning rate."""

SCHEDULES = {
    "ExponentialDecay": ("initial_learning_rate", "decay_rate"),
    "InverseTimeDecay": ("initial_learning_rate", "decay_rate"),
    "PolynomialDecay": ("initial_learning_rate", "end_learning_rate", "power"),
    "CosineDecay": ("initial_learning_rate", "warmup_target", "alpha"),
    "CosineDecayRestarts": ("initial_learning_rate", "m_mul", "alpha"),
    "PiecewiseConstantDecay": ("values",),
}
"""Keras' schedules, each with the arguments in which members may differ. Counts of steps are not among them: Keras
chooses between branches by some of them."""

_RATE = "learning_rate"
_SPEEDS = (_RATE, *(f"{_RATE}.{name}" for name in ("initial_learning_rate", "end_learning_rate", "warmup_target")))
_REFUSED = {
    "use_ema": "averages weights",
    "gradient_accumulation_steps": "accumulates gradients",
    "loss_scale_factor": "scales the loss",
}


def require_known(optimizer: Any) -> None:
    """Raise CannotStack where a stack cannot do what this optimizer does."""
    name = type(optimizer).__name__
    if not is_keras(optimizer) or name not in UPDATES:
        raise CannotStack(f"stacks do not know the optimizer {name}; they know {', '.join(UPDATES)}")
    schedule = optimizer._learning_rate
    if callable(schedule) and not (is_keras(schedule) and type(schedule).__name__ in SCHEDULES):
        raise CannotStack("the learning rate follows a schedule that is not one of Keras'")
    config = optimizer.get_config()
    for option, does in _REFUSED.items():
        if config.get(option):
            raise CannotStack(f"the optimizer {does} ({option}={config[option]})")
    if getattr(optimizer, "_exclude_from_weight_decay", None) or getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    ):
        raise CannotStack("the optimizer leaves some weights out of its weight decay")
    if isinstance(next(iter(numbers(optimizer).values())), int):
        raise CannotStack("the learning rate's schedule begins with a whole number, and Keras then rounds all of it")


def numbers(optimizer: Any) -> dict[str, float]:
    """By name what members may differ in, first the learning rate, or its schedule's "learning_rate.decay_rate" etc."""
    config = optimizer.get_config()
    given = {name: config[name] for name in NUMBERS if config.get(name) is not None}
    if isinstance(config[_RATE], Mapping):
        return {**dict(_of_schedule(config[_RATE])), **given}
    return {_RATE: config[_RATE], **given}


def rest(optimizer: Any) -> dict[str, Any]:
    """The configuration without those numbers: of each, whether there is one."""
    config = optimizer.get_config()
    kept = {name: value is not None if name in NUMBERS else value for name, value in config.items() if name != "name"}
    schedule = config[_RATE]
    if not isinstance(schedule, Mapping):
        return {**kept, _RATE: None}
    lifted = SCHEDULES[schedule["class_name"]]
    fixed = {name: value for name, value in schedule["config"].items() if name not in (*lifted, "name")}
    return {**kept, _RATE: [schedule["class_name"], fixed, [name for name, _ in _of_schedule(schedule)]]}


def learning_rate(config: Settings, own: Mapping[str, Any]) -> Any:
    """What Keras takes for a learning rate, a number or a schedule, with these `numbers`."""
    described = config[_RATE]
    if not isinstance(described, Mapping):
        return own[_RATE]
    given = dict(described["config"])
    for name in SCHEDULES[described["class_name"]]:
        if isinstance(given[name], list | tuple):
            given[name] = [own[f"{_RATE}.{name}.{place}"] for place in range(len(given[name]))]
        elif given[name] is not None:
            given[name] = own[f"{_RATE}.{name}"]
    return getattr(keras.optimizers.schedules, described["class_name"])(**given)


def settings_at(config: Settings, own: Mapping[str, Any], step: Any) -> Settings:
    """An optimizer's arguments at a step. `own`: the members' `numbers`, float64 (K, 1)."""
    given = {name: value for name, value in own.items() if name in config}
    if isinstance(config[_RATE], Mapping):  # which Keras computes in single precision
        schedule = learning_rate(config, {name: tf.cast(value, tf.float32) for name, value in own.items()})
        given[_RATE] = schedule(step)
    return {**config, **given}


def calmed(own: Mapping[str, float], highest: float) -> dict[str, float]:
    """The same `numbers` with learning rates of at most `highest`, in proportion."""
    speeds = [name for name in own if name in _SPEEDS or name.startswith(f"{_RATE}.values.")]
    share = highest / max(highest, *(own[name] for name in speeds))
    return {name: value * share if name in speeds else value for name, value in own.items()}


def _of_schedule(described: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in SCHEDULES[described["class_name"]]:
        value = described["config"][name]
        if isinstance(value, list | tuple):
            yield from ((f"{_RATE}.{name}.{place}", item) for place, item in enumerate(value))
        elif value is not None:
            yield f"{_RATE}.{name}", value
