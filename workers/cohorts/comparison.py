"""Before a stack is trusted it is compared with Keras: the same members, the same batches, the same noise.

A few steps of each member are made by the stack and by the model's own `train_step`, eagerly, which needs no
trace. What must agree: the evaluation before the first step, the untrained weights after it (batch statistics), and
loss and metrics over all steps. Trained weights need not: where a gradient is zero but for rounding, as that of a bias
before a BatchNormalization, optimizers such as Adam make a step of that rounding, which no output shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.cohorts.batches import Batches, joined, reader_of
from workers.cohorts.lifted import LiftedModels, row_of
from workers.cohorts.lifting import Lifted
from workers.cohorts.noise import common_noise
from workers.cohorts.optimizers import calmed, learning_rate
from workers.cohorts.structure import named
from workers.trials.feeding import HEAD_BATCHES, head

CALM = 1e-3  # highest learning rate of the comparison: rounding grows where a model hardly converges
LOSS_TOLERANCE, METRIC_TOLERANCE = 1e-4, 5e-2  # relative; an answer between two classes may fall to either


@dataclass(frozen=True)
class Specimen:
    """A trial's model before its first step. The comparison trains it: it is not to be used afterwards."""

    trial: int
    model: keras.Model
    lifted: Lifted
    row: np.ndarray


def differences(structure: LiftedModels, specimens: Sequence[Specimen]) -> dict[int, str]:
    """By trial a sentence for each specimen that the stack does not train as Keras does."""
    size = max(1, len(specimens)) if structure.pattern.vectorized else 1
    found: dict[int, str] = {}
    for first in range(0, len(specimens), size):
        group = specimens[first : first + size]
        for specimen, stacked in zip(group, _stacked(structure, group), strict=True):
            name = _difference(stacked, _alone(structure, specimen))
            if name is not None:
                found[specimen.trial] = f"a stack would train the model otherwise than Keras: {name} differs"
    return found


def _difference(stacked: Mapping[str, Any], alone: Mapping[str, Any]) -> str | None:
    if stacked.keys() != alone.keys():
        return f"what is logged ({', '.join(sorted(stacked.keys() ^ alone.keys()))})"
    for name, value in alone.items():
        strict = name.endswith(("loss", "weights"))
        tolerance = LOSS_TOLERANCE if strict else METRIC_TOLERANCE
        if not np.allclose(stacked[name], value, rtol=tolerance, atol=tolerance / 10, equal_nan=True):
            return f"{name} ({np.ravel(stacked[name])[:3]}, Keras has {np.ravel(value)[:3]})"
    return None


def _stacked(structure: LiftedModels, specimens: Sequence[Specimen]) -> list[dict[str, Any]]:
    program, count = structure.pattern.program, len(specimens)
    hyper = tf.constant([_calm(structure, specimen.lifted.values) for specimen in specimens], tf.float64)
    weights = tf.constant(np.stack([specimen.row for specimen in specimens]))
    slots = tuple(tf.stack(slot) for slot in zip(*map(program.slots, weights), strict=True))
    rows, sums, untrained = (weights, *slots), structure.begin(count), weights[:, program.trained :]
    for step, batches in enumerate(_batches(structure)):
        rows, sums = structure.train(rows, hyper, batches, step, sums)
        if step == 0:
            untrained = rows[0][:, program.trained :]
    checked = structure.evaluate(weights, hyper, joined([_checked(structure)]), structure.begin(count))
    return [
        {"the untrained weights": fixed, **_logs("", own), **_logs("val_", val)}
        for fixed, own, val in zip(untrained.numpy(), *map(structure.numbers, (sums, checked)), strict=True)
    ]


def _alone(structure: LiftedModels, specimen: Specimen) -> dict[str, Any]:
    model, program = specimen.model, structure.pattern.program
    columns, values = program.columns, _calm(structure, specimen.lifted.values)
    model.optimizer.learning_rate = learning_rate(program.settings, columns.of_optimizer(values))
    model.reset_metrics()
    checked = model.test_step(_checked(structure))
    model.reset_metrics()
    rates = tf.constant(columns.of_noise(values), tf.float32)
    trained, untrained = {}, np.zeros(0)
    for step, batches in enumerate(_batches(structure)):
        batch = tf.nest.map_structure(lambda array, rows=batches.order: tf.gather(array, rows), batches.data)
        with common_noise(model, rates, tf.constant([structure.seed, step], tf.int64)):
            trained = model.train_step(batch)
        if step == 0:
            untrained = row_of(model)[program.trained :]
    validated = {f"val_{name}": value for name, value in checked.items()}
    return {"the untrained weights": untrained, **trained, **validated}


def _batches(structure: LiftedModels) -> list[Batches]:
    """A few to train on, the same ones each time."""
    train = structure.parts.train
    if train.dataset is not None:
        return [joined([batch]) for batch in head(train).batches]
    epoch = reader_of(train, "train").training(structure.batch_size, 1, structure.seed, 0)
    return list(islice(epoch, HEAD_BATCHES))


def _checked(structure: LiftedModels) -> Any:
    """A few rows to evaluate on."""
    return head(structure.parts.validation).batches[0]


def _logs(prefix: str, results: tuple[float, float, dict[str, float]]) -> dict[str, float]:
    logged = named(prefix, *results)
    del logged[f"{prefix}data_loss"], logged[f"{prefix}penalty"]  # Keras has no such thing
    return logged


def _calm(structure: LiftedModels, values: Sequence[float]) -> tuple[float, ...]:
    """With small learning rates."""
    own = calmed(structure.pattern.program.columns.of_optimizer(values), CALM)
    return (*own.values(), *values[len(own) :])
