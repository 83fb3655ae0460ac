"""Stacks of any Keras models with equal rests: their structure, and one compiled program for each pattern of model.

A program is kept for the cohorts to come: it costs a trace, 1 to 3 CPU-seconds, and serves every batch size and number
of members. Only the last few are kept, because each holds a graph and a model.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.cohorts.batches import Batches, reader_of
from workers.cohorts.lifted_program import LiftedProgram
from workers.cohorts.lifting import Lifted
from workers.cohorts.structure import MOST_ACTIVATIONS, Rows, named, sharing
from workers.data import Parts
from workers.failures import CannotStack
from workers.trials.feeding import EVALUATION_ROWS, head, spec
from workers.trials.training import steps_per_execution, work_per_row
from workers.user_code import in_use

MOST_NUMBERS = 250_000  # weights in a stack: of larger ones members are faster one at a time (docs/measurements.md)
MOST_WEIGHTS = 500_000  # of a model: Keras' own fit trains larger ones faster than the program (docs/measurements.md)
FEWEST = 4  # members that a stack must have room for, else each is computed by itself
MOST_PATTERNS = 8  # kept per process, about 20 MiB each


class Pattern:
    """What members with an equal rest share: a model to compute with, and the compiled functions."""

    def __init__(self, model: keras.Model, parts: Parts) -> None:
        """Trace the program. Raises CannotStack, or whatever the model raises while it is traced."""
        self.model = model
        self._build_metrics(head(parts.train).batches[0])
        self._trained = [*model.trainable_weights, *model.non_trainable_weights]
        self.numbers: int = sum(math.prod(weight.shape) for weight in self._trained)
        self.activations: int = sum(map(_outputs, model._flatten_layers(include_self=False)))
        self.work = work_per_row(model)
        self.vectorized = FEWEST * self.numbers <= MOST_NUMBERS
        if self.vectorized:
            try:
                with _silence():
                    self._trace(parts)
                return
            except CannotStack:
                raise
            except Exception:  # an operation, such as a convolution, has no form for many members at once
                self.vectorized = False
        self._trace(parts)

    def arrays(self, row: np.ndarray) -> list[np.ndarray]:
        """A row as `keras.Model.set_weights` takes it."""
        ends = np.cumsum([math.prod(weight.shape) for weight in self._trained])[:-1]
        parts = dict(zip(map(id, self._trained), np.split(row, ends), strict=True))
        return [parts[id(weight)].reshape(weight.shape).astype(weight.dtype) for weight in self.model.weights]

    def _build_metrics(self, data: Any) -> None:
        """Metrics are made when they first see an answer."""
        self.model.test_step(tf.nest.map_structure(lambda array: array[:2], data))
        self.model.reset_metrics()

    def _trace(self, parts: Parts) -> None:
        self.program = program = LiftedProgram(self.model, self.vectorized)
        row = tf.zeros([self.numbers])
        slots = tuple(_rows(slot) for slot in program.slots(row))
        number, order, seed = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)
        weights, hyper = _rows(row), tf.TensorSpec([None, program.lifted], tf.float64)
        data, sums = spec(parts.train), _rows(program.begin(1)[0])
        self.train = _compiled(program.train, [(weights, *slots), hyper, data, order, number, number, seed, sums])
        self.evaluate = _compiled(program.evaluate, [weights, hyper, spec(parts.validation), number, sums])
        self.results = _compiled(program.results, [sums])


@dataclass(frozen=True)
class LiftedModels:
    """Members whose models have one pattern, see `Structure`. A row of `hyper` is `Lifted.values`."""

    pattern: Pattern
    batch_size: int
    seed: int = field(compare=False)  # of the order of the batches and of the noise
    parts: Parts = field(compare=False)

    @property
    def label(self) -> str:
        return f"model of {self.pattern.numbers:,} weights"

    @property
    def limit(self) -> str:
        if self.pattern.vectorized:
            return f"a stack holds at most {MOST_NUMBERS:,} weights, and {MOST_ACTIVATIONS:,} numbers from its layers"
        return "it is too large, or has an operation that computes one model at a time"

    @property
    def width(self) -> int:
        if not self.pattern.vectorized:
            return 1
        room = MOST_ACTIVATIONS // (self.pattern.activations * self.batch_size)
        return max(1, min(MOST_NUMBERS // self.pattern.numbers, room))

    @property
    def most(self) -> int:
        if self.parts.train.dataset is None:
            return self.width
        return max(self.width, sharing(self.pattern.work * self.batch_size))

    def training(self, epoch: int, members: int) -> Iterator[Batches]:
        reader = reader_of(self.parts.train, "train")
        return reader.training(self.batch_size, self._steps(members), self.seed, epoch)

    def validation(self, members: int) -> Iterator[Batches]:
        room = MOST_ACTIVATIONS // (self.pattern.activations * min(members, self.width))
        batch = max(self.batch_size, min(EVALUATION_ROWS, room))
        return reader_of(self.parts.validation, "validation").evaluation(batch, self._steps(members))

    def _steps(self, members: int) -> int:
        return steps_per_execution(self.pattern.work, self.batch_size * members)

    def begin(self, members: int) -> Any:
        return self.pattern.program.begin(members)

    def train(self, rows: Rows, hyper: Any, batches: Batches, done: int, sums: Any) -> tuple[Rows, Any]:
        seed = tf.constant(self.seed, tf.int64)
        trained: tuple[Rows, Any] = self.pattern.train(
            rows, hyper, batches.data, batches.order, batches.batch, done, seed, sums
        )
        return trained

    def evaluate(self, weights: Any, hyper: Any, batches: Batches, sums: Any) -> Any:
        return self.pattern.evaluate(weights, hyper, batches.data, batches.batch, sums)

    def results(self, trained: Any, checked: Any) -> list[dict[str, float]]:
        both = zip(self.numbers(trained), self.numbers(checked), strict=True)
        return [named("", *own) | named("val_", *val) for own, val in both]

    def numbers(self, sums: Any) -> list[tuple[float, float, dict[str, float]]]:
        """By member the data loss, the penalty and the metrics that these sums have come to."""
        found = []
        width = len(sums) if self.pattern.vectorized else 1
        for first in range(0, len(sums), width):
            scores, metrics = self.pattern.results(sums[first : first + width])
            columns = {name: values.numpy() for name, values in metrics.items()}
            for place, (data, penalty) in enumerate(scores.numpy()):
                rest = {name: float(values[place]) for name, values in columns.items()}
                found.append((float(data), float(penalty), rest))
        return found

    def shapes(self) -> list[tuple[int, ...]]:
        slots = self.pattern.program.slots(tf.zeros([self.pattern.numbers]))
        return [(self.pattern.numbers,)] * 2 + [tuple(slot.shape) for slot in slots]

    def arrays(self, row: np.ndarray) -> list[np.ndarray]:
        return self.pattern.arrays(row)


def row_of(model: keras.Model) -> np.ndarray:
    """The weights of a model (W,), first those that are trained."""
    weights = [*model.trainable_weights, *model.non_trainable_weights]
    return np.concatenate([np.asarray(weight, "float32").ravel() for weight in weights])


def require_small(weights: int) -> None:
    """Raise CannotStack where a model of so many weights trains faster alone."""
    if weights > MOST_WEIGHTS:
        raise CannotStack(f"the model has {weights:,} weights, and above {MOST_WEIGHTS:,} Keras' fit is faster")


_PATTERNS: OrderedDict[Any, Pattern | CannotStack] = OrderedDict()


def known(lifted: Lifted, parts: Parts) -> Pattern | CannotStack | None:
    """The pattern of such a model on such data where it was met before, or why it cannot be stacked."""
    key = _key(lifted, parts)
    if key in _PATTERNS:
        _PATTERNS.move_to_end(key)
    return _PATTERNS.get(key)


def keep(lifted: Lifted, parts: Parts, found: Pattern | CannotStack) -> None:
    """Remember it; the one that was not asked for for longest is forgotten."""
    _PATTERNS[_key(lifted, parts)] = found
    while len(_PATTERNS) > MOST_PATTERNS:
        _PATTERNS.popitem(last=False)


def _key(lifted: Lifted, parts: Parts) -> Any:
    specs = [spec(part) for part in (parts.train, parts.validation)]
    code = in_use() if lifted.custom else ()  # another study's class of the same name is another one
    return lifted.rest, str(specs), code


def _outputs(layer: Any) -> int:
    """Numbers that a row leaves in a layer; where it does not say, some."""
    try:
        shapes: Sequence[Any] = [output.shape for output in tf.nest.flatten(layer.output)]
    except (AttributeError, ValueError, RuntimeError):
        return 1024
    return sum(math.prod(axis or 64 for axis in shape[1:]) for shape in shapes)


@contextmanager
def _silence() -> Iterator[None]:
    """TensorFlow logs pages about an operation that it cannot vectorize, before it raises."""
    log = logging.getLogger("tensorflow")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _rows(row: Any) -> tf.TensorSpec:
    return tf.TensorSpec([None, *row.shape], row.dtype)


def _compiled(function: Any, signature: list[Any]) -> Any:
    compiled = tf.function(function, autograph=False, input_signature=signature)
    compiled.get_concrete_function()
    return compiled
