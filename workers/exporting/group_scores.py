"""What models score on groups of rows, so that the spread over the groups says how far a score may be off.

The rows are dealt at random into groups of one size. Of a metric that is a mean over rows (losses, accuracy, absolute
errors) each group's own score is told: their mean is the score of all rows (the method of batch means). An AUC, a
precision or an F1 of a few rows says nothing, and of rows of one class it is 0 or 1. Of such a metric a group's
*pseudo-value* is told, from all rows with the group and without it: `n * score - (n - 1) * score_without` of `n`
groups (Tukey's jackknife; Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11). For means both
are the same. Keras' metrics are sums behind a formula, so "without" is a subtraction: no row is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow as tf

from workers.data import Part
from workers.trials.passage import numbers_of
from workers.trials.penalty import PenaltySplit

GROUPS = 50  # at most: they give the standard error to within a tenth

_State = list[np.ndarray]


class Scorer:
    """Scores rows by one model, which `split` watches."""

    def __init__(self, model: Any, split: PenaltySplit) -> None:
        if model.steps_per_execution != 1:  # a group is one batch, whatever was compiled
            model.steps_per_execution, model.test_function = 1, None
        self._model, self._split = model, split
        self._result = tf.function(self._traced)

    def score(self, rows: tuple[Any, ...]) -> dict[str, float]:
        """Every metric on these rows alone: inputs, targets, perhaps weights."""
        self._split.reset()
        metrics = numbers_of(self._model.test_on_batch(*rows, return_dict=True))
        return {**metrics, **self._split.take()}

    def score_more(self, rows: tuple[Any, ...]) -> dict[str, float]:
        """The model's metrics on these rows and those before."""
        return numbers_of(self._model.test_function(iter([rows])))

    def state(self) -> _State:
        """What the model's metrics have summed up."""
        return [np.array(variable, dtype="float64") for variable in self._model.metrics_variables]

    def result(self, state: _State) -> dict[str, float]:
        """The model's metrics as they are with this state, which they keep."""
        return numbers_of(self._result([value.astype("float32") for value in state]))

    def _traced(self, state: Sequence[Any]) -> Any:
        for variable, value in zip(self._model.metrics_variables, state, strict=True):
            variable.assign(value)
        return self._model.get_metrics_result()


class GroupScores:
    """What a model scores on groups of rows, taken in one by one.

    Args:
        scorer: of the model.
        before: called before each group, for example to give the model its weights.
    """

    def __init__(self, scorer: Scorer, before: Callable[[], None] = lambda: None) -> None:
        self._scorer, self._before = scorer, before
        self._scores: dict[str, list[float]] = {}  # of each group by itself
        self._states: list[_State] = []  # after each group by itself
        self._first: tuple[Any, ...] = ()
        self._sums: set[str] = set()  # metrics whose state for several groups is the sum of theirs

    def take_in(self, rows: tuple[Any, ...]) -> None:
        """Score the next group: inputs, targets, perhaps weights."""
        self._before()
        for metric, value in self._scorer.score(rows).items():
            self._scores.setdefault(metric, []).append(value)
        self._states.append(self._scorer.state())
        if len(self._states) == 1:
            self._first = rows
        elif len(self._states) == 2:
            # Metrics of a user's own may be kept anywhere: then each group's own score is all there is.
            with suppress(Exception):
                self._sums = self._found_sums()

    def values(self) -> dict[str, list[float]]:
        """By metric a value for each group; their mean is the metric of all, their spread tells its error."""
        means = {name: [float(np.mean(chunk)) for chunk in _chunks(scores)] for name, scores in self._scores.items()}
        if not self._sums:
            return means
        groups = [_total(chunk) for chunk in _chunks(self._states)]
        whole, n = _total(groups), len(groups)
        score = self._scorer.result(whole)
        no_means = {name for name in self._sums if not _close(float(np.mean(means[name])), score[name])}
        if not no_means:
            return means
        without = [self._scorer.result(_difference(whole, group)) for group in groups]
        pseudo = {name: [n * score[name] - (n - 1) * less[name] for less in without] for name in no_means}
        return {**means, **pseudo}

    def _found_sums(self) -> set[str]:
        """Metrics that follow from their states, for two groups from the sum. The model has just seen the second."""
        both = self._scorer.score_more(self._first)
        summed, first = self._scorer.result(_total(self._states)), self._scorer.result(self._states[0])
        return {
            name
            for name in both.keys() & summed.keys()
            if _close(summed[name], both[name]) and _close(first[name], self._scores[name][0])
        }


def score_groups(scores: Sequence[GroupScores], part: Part) -> list[dict[str, list[float]]]:
    """The values of each of `scores` for each group of the part's rows, by metric.

    One pass over the rows for all of them: a dataset that shuffles gives other groups in the next.
    """
    for group in _groups(part):
        for each in scores:
            each.take_in(group)
    return [each.values() for each in scores]


def standard_errors(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """By metric; nothing where there are fewer than two groups of rows."""
    errors = {
        name: float(np.std(values, ddof=1) / math.sqrt(len(values))) for name, values in found.items() if values[1:]
    }
    return {name: error for name, error in errors.items() if math.isfinite(error)}


def _groups(part: Part) -> Iterator[tuple[Any, ...]]:
    """Groups of rows of one size, at random; a few rows may be left over. The batches of a dataset as they are."""
    if part.dataset is not None:
        yield from part.dataset
        return
    rows = part.rows or len(tf.nest.flatten(part.x)[0])
    size = math.ceil(rows / GROUPS)
    order = np.random.default_rng(0).permutation(rows)
    arrays = (part.x, part.y) if part.weight is None else (part.x, part.y, part.weight)
    for first in range(0, rows - size + 1, size):
        yield tf.nest.map_structure(lambda array, chosen=order[first : first + size]: array[chosen], arrays)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Neighbours together where a dataset has more batches than groups are worth."""
    size = math.ceil(len(items) / GROUPS)
    return (items[first : first + size] for first in range(0, len(items), size))


def _total(states: Sequence[_State]) -> _State:
    return [np.sum(parts, axis=0) for parts in zip(*states, strict=True)]


def _difference(one: _State, other: _State) -> _State:
    return [a - b for a, b in zip(one, other, strict=True)]


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)
