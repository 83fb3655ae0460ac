"""The numbers that are lifted out of a member's model, as one row, and where each of them stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts import optimizers
from workers.cohorts.constraints import bounds
from workers.cohorts.kinds import NOISE, active_layers, noisy_layers
from workers.cohorts.penalties import strengths


@dataclass(frozen=True)
class Numbers:
    """The lifted numbers of K members."""

    optimizer: dict[str, Any]  # by the names of `optimizers.numbers`, float64 (K, 1): see updates.Settings
    noise: Any  # rates or deviations of the noisy layers (K, layers), float32 as all that follow
    l1: Any  # of the trained weights (K, weights)
    l2: Any  # of the trained weights (K, weights)
    activity: Any  # L1 and L2 of what layers answer (K, layers, 2)
    bounds: Any  # lowest and highest norm and the rate of weights that are bounded (K, weights, 3)


@dataclass(frozen=True)
class Columns:
    """Where each lifted number of a model stands in its row."""

    optimizer: tuple[str, ...]
    noise: int  # noisy layers
    trained: int  # weights, each with an L1 and an L2
    active: int  # layers with an activity regularizer, each with an L1 and an L2
    bounded: int  # weights with a bounded norm, each with three numbers

    @property
    def sizes(self) -> list[int]:
        """Numbers of each kind, in their order."""
        return [len(self.optimizer), self.noise, self.trained, self.trained, 2 * self.active, 3 * self.bounded]

    def split(self, hyper: Any) -> Numbers:
        """The numbers of rows (K, H)."""
        own, *others = tf.split(hyper, self.sizes, axis=1)
        noise, l1, l2, activity, limits = (tf.cast(item, tf.float32) for item in others)
        members = tf.shape(hyper)[0]
        return Numbers(
            optimizer={name: own[:, place : place + 1] for place, name in enumerate(self.optimizer)},
            noise=noise,
            l1=l1,
            l2=l2,
            activity=tf.reshape(activity, [members, self.active, 2]),
            bounds=tf.reshape(limits, [members, self.bounded, 3]),
        )

    def of_optimizer(self, row: Sequence[float]) -> dict[str, float]:
        """Of one member's row the numbers of its optimizer."""
        return dict(zip(self.optimizer, row, strict=False))

    def of_noise(self, row: Sequence[float]) -> Sequence[float]:
        """Of one member's row the rates of its noisy layers."""
        first = len(self.optimizer)
        return row[first : first + self.noise]


def columns(model: keras.Model) -> Columns:
    """Where the numbers of this model stand, and of those with an equal rest."""
    weights = model.trainable_weights
    return Columns(
        tuple(optimizers.numbers(model.optimizer)),
        len(noisy_layers(model)),
        len(weights),
        len(active_layers(model)),
        len(bounds(weights)),
    )


def row_of_numbers(model: keras.Model) -> tuple[float, ...]:
    """The lifted numbers of a model.

    Raises:
        CannotStack: a regularizer or a constraint is none that stacks know.
    """
    weights = model.trainable_weights
    penalties = [strengths(weight.regularizer, f"the weight {weight.path}") for weight in weights]
    activities = [
        strengths(layer.activity_regularizer, f"what the layer {layer.name} answers") for layer in active_layers(model)
    ]
    return (
        *map(float, optimizers.numbers(model.optimizer).values()),
        *(float(getattr(layer, NOISE[type(layer).__name__])) for layer in noisy_layers(model)),
        *(l1 for l1, _ in penalties),
        *(l2 for _, l2 in penalties),
        *chain.from_iterable(activities),
        *map(float, chain.from_iterable(bounds(weights))),
    )
