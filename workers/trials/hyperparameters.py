"""KerasTuner's `hp`: filled with a trial's values, so that a user's code works unchanged, and asked for its space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import keras_tuner
from keras_tuner import HyperParameters
from keras_tuner.errors import FailedTrialError

__all__ = ["HyperParameters", "asked", "explore", "filled", "own_fit"]

MOST_BUILDS = 60  # while a space is explored

_Point = tuple[tuple[str, Any], ...]


def filled(params: Mapping[str, Any]) -> HyperParameters:
    """A `keras_tuner.HyperParameters` that answers with the trial's values.

    The values are there before any code runs, so conditional scopes see their parents. A parameter that the code
    asks for and the trial does not have gets its default.
    """
    hp = HyperParameters()
    hp.values = dict(params)
    return hp


def asked(hp: HyperParameters) -> set[str]:
    """Names of the parameters that code has asked `hp` for, active or not."""
    return {declared.name for declared in hp.space}


def own_fit(builder: Any) -> Callable[..., Any] | None:
    """The `fit(hp, model, ...)` that a HyperModel defines itself; None where it only builds."""
    fit = getattr(type(builder), "fit", None)
    return None if fit is None or fit is keras_tuner.HyperModel.fit else builder.fit


def explore(build: Callable[[HyperParameters], Any]) -> HyperParameters:
    """Every parameter that `build` can ask for, found by building again and again.

    Like KerasTuner's `BaseTuner._activate_all_conditions` it opens each conditional scope that it sees closed. It
    also tries each option of a choice and both ends of each Int, as code such as `for i in range(hp.Int("layers",
    1, 3))` asks for more only then. At a point that `build` leaves out it has asked for what it did until then.
    """
    known = HyperParameters()
    points: list[_Point] = [()]
    for number in range(MOST_BUILDS):
        if number == len(points):
            break
        hp = filled(dict(points[number]))
        with suppress(FailedTrialError):
            build(hp)
        known.merge(hp, overwrite=False)
        seen = [_opening(scope) for scope in hp.inactive_scopes]
        points += [point for point in dict.fromkeys([*seen, *_ends(known)]) if point not in points]
    return known


def _opening(scope: Any) -> _Point:
    """Values that make all conditions of a scope hold."""
    return tuple((condition.name, condition.values[0]) for condition in scope)


def _ends(known: HyperParameters) -> list[_Point]:
    points = []
    for declared in known.space:
        values: Any = ()
        if isinstance(declared, keras_tuner.engine.hyperparameters.Int):
            values = (declared.min_value, declared.max_value)
        elif not isinstance(declared, keras_tuner.engine.hyperparameters.Float):
            values = declared.values
        points += [(*_opening(declared.conditions), (declared.name, value)) for value in values]
    return points
