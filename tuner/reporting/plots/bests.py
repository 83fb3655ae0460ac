"""How fast studies found what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.reporting.plots.drawing import figure


@dataclass(frozen=True)
class Progress:
    """A study's best so far, as (place, value) where it becomes better, and where the study ends or stands."""

    name: str
    by_trials: list[tuple[float, float]]  # trials that were begun until then, in the order of their numbers
    by_seconds: list[tuple[float, float]]


def bests(studies: Sequence[Progress], objective: str, axis: str) -> Any:
    """A line for each study. `axis`: "trials", or what the seconds are."""
    drawn = figure(f"The best so far, by {axis.split()[0]}", axis, objective)
    for study in studies:
        line = study.by_trials if axis == "trials" else study.by_seconds
        drawn.add_scatter(
            x=[place for place, _ in line],
            y=[value for _, value in line],
            mode="lines+markers",
            line={"shape": "hv"},
            name=study.name,
        )
    drawn.update_layout(showlegend=True)
    drawn.update_xaxes(rangemode="tozero")
    return drawn
