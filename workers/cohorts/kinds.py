"""What a stack looks for in a Keras model: its layers, those among them that need care, and what is Keras' own."""

from __future__ import annotations

from typing import Any

import keras

NOISE = {"Dropout": "rate", "SpatialDropout1D": "rate", "SpatialDropout2D": "rate", "SpatialDropout3D": "rate",
         "GaussianDropout": "rate", "GaussianNoise": "stddev"}  # fmt: skip
"""Keras' layers whose noise all members share, each cut at its own rate; and what that is called."""


def is_keras(thing: Any) -> bool:
    """Whether its class is Keras' own."""
    return type(thing).__module__.split(".")[0] == "keras"


def layers_of(model: keras.Model) -> list[Any]:
    """All layers, also those inside of layers, in Keras' order."""
    return list(model._flatten_layers(include_self=False))


def noisy_layers(model: keras.Model) -> list[Any]:
    """The layers that draw noise, in Keras' order."""
    return [layer for layer in layers_of(model) if is_keras(layer) and type(layer).__name__ in NOISE]


def active_layers(model: keras.Model) -> list[Any]:
    """The layers whose answers are penalized, in Keras' order."""
    return [layer for layer in layers_of(model) if getattr(layer, "activity_regularizer", None) is not None]
