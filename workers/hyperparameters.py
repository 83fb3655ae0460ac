"""KerasTuner's `hp`, filled with a trial's values, so that a user's code for KerasTuner works unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner


def filled(params: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """A `keras_tuner.HyperParameters` that answers with the trial's values.

    The values are there before any code runs, so conditional scopes see their parents. A parameter that the code
    asks for and the trial does not have gets its default.
    """
    hp = keras_tuner.HyperParameters()
    hp.values = dict(params)
    return hp


def asked(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
    """The parameters that code has asked `hp` for, active or not: name -> its value, or None where inactive."""
    return {declared.name: hp.values.get(declared.name) for declared in hp.space}
