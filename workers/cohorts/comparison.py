"""Before a stack is trusted it is compared with Keras: the same members, the same batches, the same noise.

A few steps of each member are made by the stack and by the model's own `train_step`, eagerly, which needs no
trace. What must agree: the evaluation before the first step, the untrained weights after it (batch statistics), and
loss and metrics over all steps. Trained weights need not: where a gradient is zero but for rounding, as that of a bias
before a BatchNormalization, optimizers such as Adam make a step of that rounding, which no output shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.cohorts.lifted import LiftedModels, numbers_of, row_of
from workers.cohorts.lifting import Lifted
from workers.cohorts.noise import common_noise
from workers.cohorts.optimizers import calmed, learning_rate
from workers.cohorts.structure import Span, named, order
from workers.feeding import tensors

STEPS = 3
ROWS = 64  # that are evaluated
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
    pattern, count = structure.pattern, len(specimens)
    hyper = tf.constant([_calm(structure, specimen.lifted.values) for specimen in specimens], tf.float64)
    weights = tf.constant(np.stack([specimen.row for specimen in specimens]))
    slots = tuple(tf.stack(slot) for slot in zip(*map(pattern.program.slots, weights), strict=True))
    last = min(STEPS, structure.batches)
    rows, sums = structure.train((weights, *slots), hyper, Span(0, 0, 1), structure.begin(count))
    untrained = rows[0][:, pattern.program.trained :].numpy()
    _, sums = structure.train(rows, hyper, Span(0, 1, last), sums)
    head = _head(structure, ROWS)
    trained, checked = pattern.end(weights, hyper, head, ROWS, sums, structure.begin(count))
    rows_seen = min(last * structure.batch_size, structure.train_rows), len(tf.nest.flatten(head)[0])
    return [
        {"the untrained weights": fixed, **_logs("", own, rows_seen[0]), **_logs("val_", val, rows_seen[1])}
        for fixed, own, val in zip(untrained, numbers_of(*trained), numbers_of(*checked), strict=True)
    ]


def _alone(structure: LiftedModels, specimen: Specimen) -> dict[str, Any]:
    model, program = specimen.model, structure.pattern.program
    columns, values = program.columns, _calm(structure, specimen.lifted.values)
    model.optimizer.learning_rate = learning_rate(program.settings, columns.of_optimizer(values))
    model.reset_metrics()
    checked = model.test_step(_head(structure, ROWS))
    model.reset_metrics()
    rates = tf.constant(columns.of_noise(values), tf.float32)
    data, count = tensors(structure.parts.train)
    chosen, trained, untrained = order(count, structure.seed, 0), {}, np.zeros(0)
    for step in range(min(STEPS, structure.batches)):
        rows = chosen[step * structure.batch_size : (step + 1) * structure.batch_size]
        seed = tf.constant([structure.seed, step], tf.int64)
        with common_noise(model, rates, seed):
            batch = tf.nest.map_structure(lambda array, rows=rows: tf.gather(array, rows), data)
            trained = model.train_step(batch)
        if step == 0:
            untrained = row_of(model)[program.trained :]
    validated = {f"val_{name}": value for name, value in checked.items()}
    return {"the untrained weights": untrained, **trained, **validated}


def _logs(prefix: str, results: tuple[float, float, dict[str, float]], rows: int) -> dict[str, float]:
    data, penalty, rest = results
    logged = named(prefix, data / rows, penalty / rows, rest)
    del logged[f"{prefix}data_loss"], logged[f"{prefix}penalty"]  # Keras has no such thing
    return logged


def _head(structure: LiftedModels, rows: int) -> Any:
    return tf.nest.map_structure(lambda array: array[:rows], tensors(structure.parts.validation)[0])


def _calm(structure: LiftedModels, values: Sequence[float]) -> tuple[float, ...]:
    """With small learning rates."""
    own = calmed(structure.pattern.program.columns.of_optimizer(values), CALM)
    return (*own.values(), *values[len(own) :])
