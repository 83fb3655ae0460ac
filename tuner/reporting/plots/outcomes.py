"""What a study found: the objective in the order of the trials, by epoch, and by the size of the models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from tuner.reporting.plots.drawing import BEST, OTHERS, PRUNED, edge_of, figure, points
from tuner.reporting.ranking import Curves, Ranked, completed

_MOST_CURVES = 200  # more lines than that are a stain
_TRAINING, _VALIDATION = "#2e6f95", "#d1495b"


def history(ranked: Sequence[Ranked], objective: str, direction: str, word: str = "trial") -> Any:
    """The objective by trial or configuration (`word`), and the best so far; of what was pruned see `Edge`."""
    drawn = figure(f"{word.capitalize()}s in the order in which they were proposed", word, objective)
    edge = edge_of(ranked, direction)
    for state, colour in (("pruned", PRUNED), ("complete", OTHERS)):
        shown = [item for item in ranked if item.state == state and item.value is not None]
        points(drawn, [item.number for item in shown], shown, edge, state, colour)
    complete = sorted(completed(ranked, direction), key=lambda item: item.number)
    best = accumulate((float(item.value or 0.0) for item in complete), edge.better)
    drawn.add_scatter(
        x=[item.number for item in complete],
        y=list(best),
        mode="lines",
        line={"shape": "hv", "color": BEST},
        name="best so far",
    )
    return drawn


def learning_curves(curves: Curves, best: Ranked, objective: str, repeats: Sequence[Mapping[int, float]] = ()) -> Any:
    """The objective by epoch: the best one's, and those of others, evenly chosen where they are many.

    Args:
        curves: by number of the trial, or of the configuration its mean.
        repeats: the curves that the best one is the mean of.
    """
    drawn = figure("Learning curves", "epoch", objective)
    others = [number for number in sorted(curves) if number != best.number]
    step = max(1, math.ceil(len(others) / _MOST_CURVES))
    for name, colour, lines in (
        ("others", OTHERS, [curves[number] for number in others[::step]]),
        ("its repeats", BEST, repeats),
    ):
        x: list[int | None] = []
        y: list[float | None] = []
        for line in lines:  # one line with gaps: a line for each would make the page slow
            x += [*line, None]
            y += [*map(_finite, line.values()), None]
        if lines or name == "others":
            style = {"color": colour, "width": 0.7}
            drawn.add_scatter(x=x, y=y, mode="lines", line=style, opacity=0.5, name=name, hoverinfo="skip")
    own, name = curves.get(best.number, {}), f"mean of {best.name}" if repeats else best.name
    style = {"color": BEST, "width": 3}
    drawn.add_scatter(x=list(own), y=list(own.values()), mode="lines+markers", line=style, name=name)
    return drawn


def sizes(ranked: Sequence[Ranked], best: int, objective: str, direction: str) -> Any:
    """The objective of what is complete by how many weights the models have: what a simpler model costs."""
    drawn, edge = figure("What a smaller model costs", "weights", objective), edge_of(ranked, direction)
    complete = [item for item in completed(ranked, direction) if item.weights is not None]
    for name, colour, shown in (
        ("complete", OTHERS, [item for item in complete if item.number != best]),
        ("best", BEST, [item for item in complete if item.number == best]),
    ):
        points(drawn, [item.weights or 0 for item in shown], shown, edge, name, colour)
    drawn.update_xaxes(type="log")
    return drawn


def regularization(metrics: Mapping[int, Mapping[str, float]], best: int) -> Any:
    """The best trial's losses by epoch, without the penalty, and the penalty. `metrics`: its reports by epoch."""
    drawn = figure(f"Trial {best}: what it learned, and what its penalty cost", "epoch", "loss")
    for name, colour, dash in (
        ("data_loss", _TRAINING, "solid"),
        ("val_data_loss", _VALIDATION, "solid"),
        ("penalty", _TRAINING, "dot"),
    ):
        shown = {epoch: values[name] for epoch, values in metrics.items() if name in values}
        if shown:
            line = {"color": colour, "dash": dash}
            drawn.add_scatter(x=list(shown), y=list(shown.values()), mode="lines+markers", line=line, name=name)
    return drawn


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
