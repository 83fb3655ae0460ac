"""What parameters did. A parameter's axis is the box that samplers see: logarithmic where it is searched so, with a
place for a lambda of zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from search_spaces import Domain, Space
from tuner.reporting.plots.drawing import (
    BEST,
    OTHERS,
    PRUNED,
    described,
    edge_of,
    figure,
    found_by,
    points,
    shade_of,
    shades,
    short,
    ticks,
)
from tuner.reporting.ranking import Ranked, completed

_COLUMNS, _ROW_HEIGHT = 3, 260  # plots beside each other, pixels
_AXIS_WIDTH, _PAGE_WIDTH = 105, 1040  # pixels
_FEW, _APART = 12, 0.6  # values of an axis up to which points of one value are spread, over this share of its room
_DIGITS = 4  # of a place on an axis: finer than a pixel, and a page of 3,000 trials has many of them
_INACTIVE = -0.15  # below an axis: where a line passes that does not have the parameter


def slices(space: Space, ranked: Sequence[Ranked], best: int, objective: str, direction: str) -> Any:
    """The objective by each parameter: of what is complete, and, paler, of what was pruned; see `Edge`."""
    from plotly.subplots import make_subplots

    names = [name for name in space.order if name in space.free]
    rows = math.ceil(len(names) / _COLUMNS)
    drawn = make_subplots(rows=rows, cols=_COLUMNS, subplot_titles=names, shared_yaxes=True)
    edge, judged = edge_of(ranked, direction), [item for item in ranked if item.value is not None]
    groups = (
        (PRUNED, [item for item in judged if item.state == "pruned"]),
        (OTHERS, [item for item in judged if item.state == "complete" and item.number != best]),
        (BEST, [item for item in judged if item.number == best]),
    )
    for place, name in enumerate(names):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        domain = space.parameters[name]
        for colour, group in groups:
            shown = [item for item in group if name in item.params]
            x = [round(domain.to_unit(item.params[name]), _DIGITS) for item in shown]
            points(drawn, x, shown, edge, name, colour, partial(_told, name), **at)
        places, texts = ticks(domain)
        drawn.update_xaxes(tickvals=places, ticktext=texts, range=[-0.03, 1.03], **at)
    drawn.update_yaxes(title_text=objective, col=1)
    drawn.update_layout(title=f"{objective} by parameter", template="plotly_white", showlegend=False)
    drawn.update_layout(height=_ROW_HEIGHT * rows + 80)
    return drawn


def _told(name: str, item: Ranked) -> str:
    """All parameters of each trial in the plot of each parameter would make most of the page."""
    return f"{found_by(item)}<br>{name} {short(item.params[name])}"


def bars(shares: Mapping[str, float]) -> Any:
    """The importance of each parameter, the most important on top."""
    drawn = figure("How much each parameter explains of what is good", "share", "")
    drawn.add_bar(x=list(shares.values())[::-1], y=list(shares)[::-1], orientation="h", marker_color=OTHERS)
    drawn.update_layout(height=80 + 34 * (len(shares) + 2))
    return drawn


def pair(space: Space, ranked: Sequence[Ranked], names: tuple[str, str], objective: str, direction: str) -> Any:
    """Where in the plane of two parameters what was tried lies, and how good it was there; see `shade_of`.

    Points and no surface: between them nothing is known, and every other parameter differs from one to the next. Points
    that share one of few values are spread around it.
    """
    shade = shade_of(ranked, direction)
    judged = [item for item in ranked if item.value is not None and item.state in ("complete", "pruned")]
    shown = sorted(judged, key=lambda item: item.value or 0.0, reverse=direction == "minimize")
    drawn = figure("The two that explain most: where the good ones are (open circles were pruned)", *names)
    x, y = (
        [_spread(space.parameters[name], item.params[name], item.number * turn) for item in shown]
        for name, turn in zip(names, (math.sqrt(2), math.sqrt(3)), strict=True)
    )
    symbols = ["circle" if item.state == "complete" else "circle-open" for item in shown]
    drawn.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={
            **shades([shade(float(item.value or 0.0)) for item in shown], objective, direction),
            "symbol": symbols,
            "size": 9,
        },
        text=[described(item) for item in shown],
        hovertemplate="%{text}<extra></extra>",
    )
    for axis, name in (("xaxis", names[0]), ("yaxis", names[1])):
        places, texts = ticks(space.parameters[name])
        drawn.update_layout({axis: {"tickvals": places, "ticktext": texts, "range": [-0.03, 1.03]}})
    return drawn


def _spread(domain: Domain, value: Any, turn: float) -> float:
    """The place on an axis; where few values share it, a little beside, by `turn`, so that none covers another."""
    place = round(domain.to_unit(value), _DIGITS)
    if domain.count is None or domain.count > _FEW:
        return place
    return round(place + (turn % 1 - 0.5) * _APART / domain.count, _DIGITS)


def parallel(space: Space, ranked: Sequence[Ranked], objective: str, direction: str) -> Any:
    """Each complete one as a line through its parameters, from its objective; see `shade_of`.

    Plotly draws lines of larger numbers above others, so these grow with what is better; the first axis explains them.
    """
    shade, complete = shade_of(ranked, direction), completed(ranked, direction)[::-1]
    names = [name for name in space.order if name in space.free]
    values = [shade(float(item.value or 0.0)) for item in complete]
    drawn = figure("From the objective through the parameters; drag along an axis to select", "", "")
    drawn.add_parcoords(
        line={
            "color": [value if direction == "maximize" else -value for value in values],
            "colorscale": "Viridis",
            "reversescale": True,
        },
        dimensions=[
            _objective_axis(complete, values, objective),
            *(_axis(name, space.parameters[name], complete) for name in names),
        ],
    )
    drawn.update_layout(margin={"t": 110, "l": 120, "r": 40})
    width = _AXIS_WIDTH * (len(names) + 2)
    if width > _PAGE_WIDTH:
        drawn.update_layout(width=width)
    return drawn


def _objective_axis(complete: Sequence[Ranked], values: Sequence[float], objective: str) -> dict[str, Any]:
    low, high = min(values), max(values)
    places = [*(low + (high - low) * place / 4 for place in range(4)), high]
    texts = [short(place) for place in places]
    if values[0] != complete[0].value:  # the worst one stands nearer than it is
        texts[places.index(values[0])] += " or worse"
    return {"label": objective, "values": values, "tickvals": places, "ticktext": texts}


def _axis(name: str, domain: Domain, complete: Sequence[Ranked]) -> dict[str, Any]:
    places, texts = ticks(domain)
    if any(name not in item.params for item in complete):
        places, texts = [_INACTIVE, *places], ["not active", *texts]
    return {
        "label": name,
        "values": [
            round(domain.to_unit(item.params[name]), _DIGITS) if name in item.params else _INACTIVE for item in complete
        ],
        "range": [min(0.0, *places), 1.0],
        "tickvals": places,
        "ticktext": texts,
    }
