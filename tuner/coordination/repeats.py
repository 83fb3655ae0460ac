"""Configurations: points of the space that are trained `repeats` times, each time with another seed.

The numbers of trials say it all: trials k * c to k * c + k - 1 are the k repeats of configuration c, so no table and no
column knows of it. With k = 1 a configuration is a trial. A configuration is known by the mean over its repeats, and
only once each of them is complete: a mean over the lucky ones would be no mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tuner.coordination.tried import Point
from tuner.pruners.stopping import Decision
from tuner.samplers.points import Observation

State = Literal["running", "complete", "pruned", "failed"]

OVER = ("complete", "pruned", "failed", "cancelled")
LOST = ("pruned", "failed", "cancelled")  # states of a trial whose configuration can no longer be ranked


def numbers_of(configuration: int, repeats: int) -> range:
    """The numbers of a configuration's trials."""
    return range(configuration * repeats, (configuration + 1) * repeats)


def state_of(states: Sequence[str], repeats: int) -> State:
    """The state of a configuration whose trials have these states; those that are missing have not begun.

    It is running until every repeat is over. A repeat that failed or was cancelled makes it failed, else one that was
    pruned makes it pruned.
    """
    if len(states) < repeats or not all(state in OVER for state in states):
        return "running"
    if "failed" in states or "cancelled" in states:
        return "failed"
    return "pruned" if "pruned" in states else "complete"


@dataclass(frozen=True)
class Estimate:
    """A mean, and how far it may be off."""

    mean: float
    standard_error: float | None  # of the mean, from the spread of the values; None for a single one


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, and its standard error: s / sqrt(n), with n - 1 in the variance."""
    mean, count = sum(values) / len(values), len(values)
    if count == 1:
        return Estimate(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, math.sqrt(variance / count))


def over_repeats(values: Sequence[float], folds: int) -> Estimate:
    """The mean of what a configuration scored in every repeat, by number, and its standard error.

    Repeats that are validated on the same fold share its rows, so it is the means of the folds whose spread counts.
    """
    return estimate(values if folds == 1 else [estimate(values[fold::folds]).mean for fold in range(folds)])


def mean_curve(curves: Iterable[Mapping[int, float]], at_least: int = 1) -> dict[int, float]:
    """The mean by epoch over the curves that have the epoch; without the epochs that fewer than `at_least` have."""
    reached: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in curve.items():
            reached.setdefault(epoch, []).append(value)
    return {epoch: estimate(values).mean for epoch, values in sorted(reached.items()) if len(values) >= at_least}


class Configurations:
    """What the trials of a study say together. `points`: the study's own, by number; `repeats`: per configuration."""

    def __init__(self, points: Mapping[int, Point], repeats: int) -> None:
        self._points, self._repeats = points, repeats

    def first(self, number: int) -> int:
        """The number of the first trial of the same configuration: the name by which rules know it."""
        return number - number % self._repeats

    def repeats_of(self, number: int) -> list[Point]:
        """The trials of the same configuration that have a row, this one included, by number."""
        same = numbers_of(number // self._repeats, self._repeats)
        return [self._points[other] for other in same if other in self._points]

    def known(self, number: int) -> Observation:
        """What a sampler is to know of a trial's configuration: the means over its repeats, once all are over."""
        if self._repeats == 1:  # the same as below, without means of one value; asked for each trial after a restart
            point = self._points[number]
            state = state_of([point.state], 1)
            return Observation(number, state, point.params, point.value, dict(point.curve), point.notes)
        repeats = self.repeats_of(number)
        values = [repeat.value for repeat in repeats if repeat.value is not None]
        return Observation(
            number // self._repeats,
            state_of([repeat.state for repeat in repeats], self._repeats),
            repeats[0].params,
            estimate(values).mean if len(values) == self._repeats else None,
            mean_curve([repeat.curve for repeat in repeats], at_least=self._repeats),
            repeats[0].notes,
        )

    def value_at(self, number: int, epoch: int) -> float:
        """One point of `curve`; the trial itself got there."""
        if self._repeats == 1:
            return self._points[number].curve[epoch]
        return estimate([repeat.curve[epoch] for repeat in self.repeats_of(number) if epoch in repeat.curve]).mean

    def curve(self, number: int) -> dict[int, float]:
        """What a rule is to know of a trial's configuration: the mean by epoch over the repeats that got there."""
        return mean_curve(repeat.curve for repeat in self.repeats_of(number))

    def lost(self, number: int) -> Point | None:
        """A repeat for which the trial's configuration can no longer be ranked; None while there is none."""
        return next((repeat for repeat in self.repeats_of(number) if repeat.state in LOST), None)


def of_repeats(decision: Decision, lost: Point | None) -> Decision:
    """A decision about a trial of several repeats. `lost`: one for which their configuration cannot be ranked."""
    if lost is not None and decision.action != "stop":
        reason = (
            f"Stopped at epoch {decision.epoch}: trial {lost.number}, a repeat of the same configuration, "
            f"was {lost.state}."
        )
        return replace(decision, action="stop", reason=reason)
    means = "These are means over the repeats of a configuration, which is named by its first trial."
    return replace(decision, reason=f"{decision.reason} {means}")
