"""Comparing models on the same groups of rows: rows that are hard are hard for both, and cancel in the differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from db.tables import Trial
from tuner.coordination.repeats import Estimate, estimate
from tuner.definitions.definition import StudyDefinition

Scores = Mapping[str, Sequence[float]]
"""What a model scores on each group of validation rows, by metric."""


def incomparable(definition: StudyDefinition, trial: Trial) -> str | None:
    """Why its models cannot be compared on validation rows, in a sentence; None: they can. `trial`: the best one."""
    if definition.loop is not None:
        return f"The loop of study {definition.name!r} brings its own data: nobody else can compare its models."
    if not definition.objective.startswith("val_"):
        objective = definition.objective
        return (
            f"Models are compared on validation rows, and the objective {objective!r} of study {definition.name!r} "
            "is not."
        )
    if trial.weights is None:
        return f"How many weights trial {trial.number} of study {definition.name!r} has was not noted."
    return None


def score_of(definition: StudyDefinition, scores: Scores, metric: str | None = None) -> Estimate | None:
    """The mean over the groups of the objective, or of `metric`, and its error; None: it is not finite or not there."""
    values = scores.get(metric or definition.objective.removeprefix("val_"), ())
    return estimate(values) if values and all(map(math.isfinite, values)) else None


def worse_by(definition: StudyDefinition, one: Scores, other: Scores) -> Estimate | None:
    """By how much `other` is worse than `one` in the study's objective, the mean over the groups and its error.

    None where they do not have finite scores on two groups or more, so that nothing says how far it may be off.
    """
    metric = definition.objective.removeprefix("val_")
    differences = [b - a for a, b in zip(one.get(metric, ()), other.get(metric, ()), strict=False)]
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    return estimate([-d for d in differences] if definition.direction == "maximize" else differences)
