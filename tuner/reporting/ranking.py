"""What of a study is ranked, and so what is plotted: its trials, or, with repeats or folds, its configurations.

Values of single repeats are of different seeds and different rows, so they cannot be compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.coordination.repeats import estimate, mean_curve
from tuner.reporting.results import ConfigurationResult, TrialResult, configuration_results

Curves = Mapping[int, Mapping[int, float]]  # by number, the objective by epoch


@dataclass(frozen=True)
class Ranked:
    """One trial, or one configuration with the mean over its repeats."""

    number: int  # of the trial or of the configuration
    trials: tuple[int, ...]  # their numbers
    state: str  # of a trial, or of a configuration: see TrialResult and ConfigurationResult
    params: dict[str, Any]
    value: float | None  # of a pruned one the best that it had, or the mean over what its repeats had
    standard_error: float | None  # of the mean of a complete configuration; None: there is none
    best_epochs: tuple[int, ...]  # of its trials, as far as they have one
    weights: int | None  # of its largest model: folds may know different categories

    @property
    def name(self) -> str:
        first, last = self.trials[0], self.trials[-1]
        return f"trial {first}" if first == last else f"trials {first} to {last}"


def ranked_of(trials: Sequence[TrialResult], repeats: int, folds: int) -> list[Ranked]:
    """What is ranked, by number. `trials`: every trial of the study, by number."""
    by_number = {trial.number: trial for trial in trials}
    found = configuration_results(trials, repeats, folds)
    return [_ranked(item, [by_number[number] for number in item.trials], repeats) for item in found]


def _ranked(item: ConfigurationResult, group: Sequence[TrialResult], repeats: int) -> Ranked:
    value, state = item.value, item.state if repeats > 1 else group[0].state
    had = [trial.value for trial in group if trial.value is not None]
    if state == "pruned" and len(had) == repeats:
        value = estimate(had).mean
    return Ranked(
        number=item.number,
        trials=item.trials,
        state=state,
        params=item.params,
        value=value,
        standard_error=item.standard_error,
        best_epochs=tuple(trial.best_epoch for trial in group if trial.best_epoch is not None),
        weights=max((trial.weights for trial in group if trial.weights is not None), default=None),
    )


def completed(ranked: Sequence[Ranked], direction: str) -> list[Ranked]:
    """Those that are complete and have a value, the best one first."""
    found = [item for item in ranked if item.state == "complete" and item.value is not None]
    return sorted(found, key=lambda item: item.value or 0.0, reverse=direction == "maximize")


def curves_of(curves: Curves, repeats: int) -> Curves:
    """The objective by epoch of what is ranked: of repeats the mean over the epochs that all of them have."""
    if repeats == 1:
        return curves
    groups: dict[int, list[Mapping[int, float]]] = {}
    for number, curve in curves.items():
        groups.setdefault(number // repeats, []).append(curve)
    return {number: mean_curve(group, at_least=repeats) for number, group in groups.items()}
