"""What parameters did. A parameter's axis is the box that samplers see: logarithmic where it is searched so, with a
place for a lambda of zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import Space
from tuner.reporting.plots.drawing import BEST, OTHERS, PRUNED, edge_of, figure, points, ticks
from tuner.reporting.ranking import Ranked

_COLUMNS, _ROW_HEIGHT = 3, 260  # plots beside each other, pixels


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
            points(drawn, [domain.to_unit(item.params[name]) for item in shown], shown, edge, name, colour, **at)
        places, texts = ticks(domain)
        drawn.update_xaxes(tickvals=places, ticktext=texts, range=[-0.03, 1.03], **at)
    drawn.update_yaxes(title_text=objective, col=1)
    drawn.update_layout(title=f"{objective} by parameter", template="plotly_white", showlegend=False)
    drawn.update_layout(height=_ROW_HEIGHT * rows + 80)
    return drawn


def bars(shares: Mapping[str, float]) -> Any:
    """The importance of each parameter, the most important on top."""
    drawn = figure("How much each parameter explains of what is good", "share", "")
    drawn.add_bar(x=list(shares.values())[::-1], y=list(shares)[::-1], orientation="h", marker_color=OTHERS)
    drawn.update_layout(height=80 + 34 * (len(shares) + 2))
    return drawn
