"""What a finished model scores on a part of the data, and how far such a score may be off.

The standard error is found from the rows, whatever the metric: they are dealt at random into groups of one size, each
group is evaluated by itself, and the deviation of the groups' scores, divided by the square root of their number, is
the standard error of the score of all (the method of batch means). For metrics that are means over rows (losses,
accuracy, absolute errors) this has no bias; for others, such as an AUC, it is an approximation that needs some rows in
each group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from workers.data import Part
from workers.failures import sentence_of
from workers.trials.feeding import Feed
from workers.trials.passage import numbers_of
from workers.trials.penalty import PenaltySplit

Scoring = Callable[..., Mapping[str, float]]
"""From a group of rows (inputs, targets, perhaps weights) to metrics."""

GROUPS = 50  # at most: they give the standard error to within a tenth


def evaluate(model: Any, parts: Mapping[str, Part | None]) -> tuple[dict[str, Any], list[str]]:
    """Every metric of the model on each part, with `data_loss` and `penalty`.

    Returns:
        The metrics of each part by its name (None, and a note, where the model has none) and, as `standard_errors`,
        those of the metrics of each part that has them; and the notes.
    """
    split = PenaltySplit(model)  # one for all: Keras traces the model's test step once
    scores: dict[str, Any] = dict.fromkeys(parts)
    errors: dict[str, dict[str, float]] = {}
    notes = []
    for name, part in parts.items():
        if part is None:
            continue
        split.reset()
        try:
            metrics = model.evaluate(Feed(part, part, 1, 0).validation, return_dict=True, verbose=0)
            scores[name] = {**numbers_of(metrics), **split.take()}
            [groups] = group_scores([(model, split)], part)
            errors[name] = _standard_errors(groups)
        except Exception as error:  # a model with a train step of its own need not be able to evaluate
            notes.append(f"The model could not be evaluated on the {name} part: {sentence_of(error)}")
    return {**scores, "standard_errors": errors}, notes


def group_scores(models: Sequence[tuple[Any, PenaltySplit]], part: Part) -> list[dict[str, list[float]]]:
    """What each of the models scores on each group of the part's rows, by metric."""
    return scores_by_group([scoring_of(model, split) for model, split in models], part)


def scoring_of(model: Any, split: PenaltySplit) -> Scoring:
    """What scores one group of rows by this model, `data_loss` and `penalty` among its metrics."""
    if model.steps_per_execution != 1:  # a group is one batch, whatever was compiled
        model.steps_per_execution, model.test_function = 1, None

    def score(*group: Any) -> Mapping[str, float]:
        model.reset_metrics()
        split.reset()
        return {**numbers_of(model.test_on_batch(*group, return_dict=True)), **split.take()}

    return score


def scores_by_group(scorings: Sequence[Scoring], part: Part) -> list[dict[str, list[float]]]:
    """What each of `scorings` gives for each group of the part's rows, by metric.

    One pass over the rows for all of them: a dataset that shuffles gives other groups in the next.
    """
    found: list[dict[str, list[float]]] = [{} for _ in scorings]
    for group in _groups(part):
        for score, scores in zip(scorings, found, strict=True):
            for metric, value in score(*group).items():
                scores.setdefault(metric, []).append(value)
    return found


def _standard_errors(found: Mapping[str, list[float]]) -> dict[str, float]:
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
