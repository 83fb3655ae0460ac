"""A study as plots. A parameter's axis is the box that samplers see: logarithmic where it is searched so, with a place
for a lambda of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from search_spaces import Choice, Domain, Space
from tuner.reporting.results import TrialResult, completed

Curves = Mapping[int, Mapping[int, float]]  # by trial, the objective by epoch

_MOST_CURVES = 200  # more lines than that are a stain
_COLUMNS, _ROW_HEIGHT = 3, 260  # plots beside each other, pixels
_OTHERS, _BEST, _PRUNED = "#5f7896", "#d1495b", "#d0d8e2"
_TRAINING, _VALIDATION = "#2e6f95", "#d1495b"


def history(trials: Sequence[TrialResult], objective: str, direction: str) -> Any:
    """The objective by trial, and the best so far. A pruned trial stands at the best that it had; see `_edge`."""
    figure = _figure("Trials in the order in which they were proposed", "trial", objective)
    edge = _edge(trials, direction)
    for state, colour in (("pruned", _PRUNED), ("complete", _OTHERS)):
        shown = [trial for trial in trials if trial.state == state and trial.value is not None]
        _points(figure, [trial.number for trial in shown], shown, edge, state, colour)
    complete = sorted(completed(trials, direction), key=lambda trial: trial.number)
    best = accumulate((float(trial.value or 0.0) for trial in complete), edge.better)
    figure.add_scatter(
        x=[trial.number for trial in complete],
        y=list(best),
        mode="lines",
        line={"shape": "hv", "color": _BEST},
        name="best so far",
    )
    return figure


def learning_curves(curves: Curves, best: int, objective: str) -> Any:
    """The objective by epoch: the best trial's, and those of others, evenly chosen where they are many."""
    figure = _figure("Learning curves", "epoch", objective)
    others = [number for number in sorted(curves) if number != best]
    step = max(1, math.ceil(len(others) / _MOST_CURVES))
    x: list[int | None] = []
    y: list[float | None] = []
    for number in others[::step]:  # one line with gaps: a line for each would make the page slow
        x += [*curves[number], None]
        y += [*map(_finite, curves[number].values()), None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": _OTHERS, "width": 0.7}, opacity=0.5, name="others", hoverinfo="skip"
    )
    own = curves.get(best, {})
    figure.add_scatter(
        x=list(own), y=list(own.values()), mode="lines+markers", line={"color": _BEST, "width": 3}, name=f"trial {best}"
    )
    return figure


def slices(space: Space, trials: Sequence[TrialResult], best: int, objective: str, direction: str) -> Any:
    """The objective by each parameter: of the complete trials, and, paler, of the pruned ones; see `_edge`."""
    from plotly.subplots import make_subplots

    names = [name for name in space.order if name in space.free]
    rows = math.ceil(len(names) / _COLUMNS)
    figure = make_subplots(rows=rows, cols=_COLUMNS, subplot_titles=names, shared_yaxes=True)
    edge, judged = _edge(trials, direction), [trial for trial in trials if trial.value is not None]
    groups = (
        (_PRUNED, [trial for trial in judged if trial.state == "pruned"]),
        (_OTHERS, [trial for trial in judged if trial.state == "complete" and trial.number != best]),
        (_BEST, [trial for trial in judged if trial.number == best]),
    )
    for place, name in enumerate(names):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        domain = space.parameters[name]
        for colour, group in groups:
            shown = [trial for trial in group if name in trial.params]
            _points(figure, [domain.to_unit(trial.params[name]) for trial in shown], shown, edge, name, colour, **at)
        values = _ticks(domain)
        figure.update_xaxes(
            tickvals=[domain.to_unit(value) for value in values],
            ticktext=[f"{value:.3g}" if isinstance(value, float) else str(value) for value in values],
            range=[-0.03, 1.03],
            **at,
        )
    figure.update_yaxes(title_text=objective, col=1)
    figure.update_layout(title=f"{objective} by parameter", template="plotly_white", showlegend=False)
    figure.update_layout(height=_ROW_HEIGHT * rows + 80)
    return figure


def sizes(trials: Sequence[TrialResult], best: int, objective: str, direction: str) -> Any:
    """The objective of the complete trials by how many weights their models have: what a simpler model costs."""
    figure, edge = _figure("What a smaller model costs", "weights", objective), _edge(trials, direction)
    complete = [trial for trial in completed(trials, direction) if trial.weights is not None]
    for name, colour, shown in (
        ("complete", _OTHERS, [trial for trial in complete if trial.number != best]),
        ("best", _BEST, [trial for trial in complete if trial.number == best]),
    ):
        _points(figure, [trial.weights or 0 for trial in shown], shown, edge, name, colour)
    figure.update_xaxes(type="log")
    return figure


def regularization(metrics: Mapping[int, Mapping[str, float]], best: int) -> Any:
    """The best trial's losses by epoch, without the penalty, and the penalty. `metrics`: its reports by epoch."""
    figure = _figure(f"Trial {best}: what it learned, and what its penalty cost", "epoch", "loss")
    for name, colour, dash in (
        ("data_loss", _TRAINING, "solid"),
        ("val_data_loss", _VALIDATION, "solid"),
        ("penalty", _TRAINING, "dot"),
    ):
        shown = {epoch: values[name] for epoch, values in metrics.items() if name in values}
        if shown:
            line = {"color": colour, "dash": dash}
            figure.add_scatter(x=list(shown), y=list(shown.values()), mode="lines+markers", line=line, name=name)
    return figure


def bars(shares: Mapping[str, float]) -> Any:
    """The importance of each parameter, the most important on top."""
    figure = _figure("How much each parameter explains of what is good", "share", "")
    figure.add_bar(x=list(shares.values())[::-1], y=list(shares)[::-1], orientation="h", marker_color=_OTHERS)
    figure.update_layout(height=80 + 34 * (len(shares) + 2))
    return figure


@dataclass(frozen=True)
class _Edge:
    """How far a plot reaches: to the worst complete trial. A pruned one beyond it stands at the edge.

    Pruned trials can be worse by so much that nothing could be told apart among the good ones.
    """

    better: Callable[[float, float], float]
    worst: float

    def __call__(self, value: float) -> float:
        return self.better(value, self.worst)


def _edge(trials: Sequence[TrialResult], direction: str) -> _Edge:
    worst = completed(trials, direction)[-1].value
    return _Edge(min if direction == "minimize" else max, float(worst or 0.0))


def _figure(title: str, x: str, y: str) -> Any:
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420)
    return figure


def _points(
    figure: Any, x: Sequence[float], trials: Sequence[TrialResult], edge: _Edge, name: str, colour: str, **at: int
) -> None:
    figure.add_scatter(
        x=x,
        y=[edge(float(trial.value or 0.0)) for trial in trials],
        mode="markers",
        marker={"color": colour, "size": 9 if colour == _BEST else 6},
        name=name,
        text=[_described(trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
        **at,
    )


def _described(trial: TrialResult) -> str:
    params = "<br>".join(f"{name} {short(value)}" for name, value in trial.params.items())
    return f"trial {trial.number} ({trial.state}): {short(trial.value)}<br>{params}"


def _ticks(domain: Domain) -> list[Any]:
    return domain.grid(len(domain.options) if isinstance(domain, Choice) else 5)


def short(value: Any) -> str:
    """A value in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
