"""What the plots share: figures, points, colours, how far an axis reaches, and a parameter's axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import Choice, Domain
from tuner.reporting.ranking import Ranked, completed

OTHERS, BEST, PRUNED = "#5f7896", "#d1495b", "#d0d8e2"
_SHADED = 0.9  # share of the complete ones among which colours tell apart


@dataclass(frozen=True)
class Edge:
    """How far a plot reaches: to the worst complete trial. A pruned one beyond it stands at the edge.

    Pruned trials can be worse by so much that nothing could be told apart among the good ones.
    """

    better: Callable[[float, float], float]
    worst: float

    def __call__(self, value: float) -> float:
        return self.better(value, self.worst)


def edge_of(ranked: Sequence[Ranked], direction: str) -> Edge:
    worst = completed(ranked, direction)[-1].value
    return Edge(min if direction == "minimize" else max, float(worst or 0.0))


def shade_of(ranked: Sequence[Ranked], direction: str) -> Edge:
    """How far colours reach: to what nine of ten complete ones are no worse than. Those beyond have the last colour.

    A few that diverged would leave one colour for all others.
    """
    complete = completed(ranked, direction)
    reached = complete[math.ceil(len(complete) * _SHADED) - 1].value
    return Edge(min if direction == "minimize" else max, float(reached or 0.0))


def shades(values: Sequence[float], objective: str, direction: str) -> dict[str, Any]:
    """The colours of these values, the best one dark, and the bar that explains them."""
    return {
        "color": values,
        "colorscale": "Viridis",
        "reversescale": direction == "maximize",
        "showscale": True,
        "colorbar": {"title": {"text": objective, "side": "right"}, "thickness": 12},
    }


def figure(title: str, x: str, y: str) -> Any:
    from plotly.graph_objects import Figure

    made = Figure()
    made.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420)
    return made


def points(
    figure: Any,
    x: Sequence[float],
    ranked: Sequence[Ranked],
    edge: Edge,
    name: str,
    colour: str,
    told: Callable[[Ranked], str] | None = None,
    **at: int,
) -> None:
    """Draw these at the places `x`, each as high as its value, with its standard error where it has one.

    `told` says what is shown of a point under the mouse, by default all its parameters.
    """
    errors = [item.standard_error for item in ranked]
    figure.add_scatter(
        x=x,
        y=[edge(float(item.value or 0.0)) for item in ranked],
        error_y={"array": errors, "thickness": 1, "width": 2} if any(error is not None for error in errors) else None,
        mode="markers",
        marker={"color": colour, "size": 9 if colour == BEST else 6},
        name=name,
        text=[(told or described)(item) for item in ranked],
        hovertemplate="%{text}<extra></extra>",
        **at,
    )


def described(item: Ranked) -> str:
    """What is shown of a point under the mouse."""
    params = "<br>".join(f"{name} {short(value)}" for name, value in item.params.items())
    return f"{found_by(item)}<br>{params}"


def found_by(item: Ranked) -> str:
    return f"{item.name} ({item.state}): {with_error(item.value, item.standard_error)}"


def ticks(domain: Domain) -> tuple[list[float], list[str]]:
    """Places on a parameter's axis, which is the box that samplers see, and what stands at them."""
    values = domain.grid(len(domain.options) if isinstance(domain, Choice) else 5)
    texts = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
    return [domain.to_unit(value) for value in values], texts


def short(value: Any) -> str:
    """A value in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_error(value: float | None, standard_error: float | None) -> str:
    """A value in a few letters, with its standard error where it has one."""
    return short(value) + ("" if standard_error is None else f" ± {standard_error:.2g}")
