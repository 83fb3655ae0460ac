"""When each attempt at a trial ran, on which worker, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from db.attempts import Span
from tuner.reporting.plots.drawing import OTHERS, figure

_COLOURS = {
    "complete": OTHERS,
    "pruned": "#b9c6d6",
    "failed": "#d1495b",
    "cancelled": "#8a6d9e",
    "interrupted": "#e3a74f",  # lost, paused or handed over, and tried again
    "running": "#5aa469",
}
_LANE, _LEAST, _MOST = 14, 260, 900  # pixels: of one attempt, and of the plot
_BETWEEN = 0.6  # of a lane, between two workers


def timeline(spans: Sequence[Span], most: int) -> Any:
    """A bar for each attempt, by worker; those that a worker trained at the same time lie above each other.

    Args:
        spans: every attempt of the study, by their start.
        most: of more, so many of the newest ones are drawn: any others would leave gaps in which nothing seems to run.
    """
    shown = spans[-most:]
    which = (
        "When each trial ran" if len(shown) == len(spans) else f"When the newest {most} of {len(spans)} attempts ran"
    )
    drawn, lanes, middles = figure(which, "time (UTC)", ""), *_lanes(shown)
    for state, colour in _COLOURS.items():
        mine = [(span, lane) for span, lane in zip(shown, lanes, strict=True) if span.state == state]
        if mine:
            drawn.add_bar(
                base=[_milliseconds(span.started) for span, _ in mine],
                x=[max(0, _milliseconds(span.ended) - _milliseconds(span.started)) for span, _ in mine],
                y=[lane for _, lane in mine],
                width=0.9,
                orientation="h",
                marker={"color": colour, "line": {"width": 0}},
                name=state,
                hovertext=[_described(span) for span, _ in mine],
                hovertemplate="%{hovertext}<extra></extra>",
            )
    height = min(max(_LEAST, 160 + _LANE * round(max(lanes, default=0.0) + 1)), _MOST)
    drawn.update_layout(barmode="overlay", height=height, showlegend=True)
    drawn.update_xaxes(type="date")
    drawn.update_yaxes(tickvals=list(middles.values()), ticktext=list(middles), autorange="reversed", showgrid=False)
    return drawn


def _lanes(spans: Sequence[Span]) -> tuple[list[float], dict[str, float]]:
    """The height at which each lies, so that none covers another, and the middle of each worker's."""
    ends: dict[str, list[datetime]] = {}  # of each worker's lanes, when the last one in it ended
    places = []
    for span in spans:
        lanes = ends.setdefault(span.worker, [])
        lane = next((place for place, end in enumerate(lanes) if end <= span.started), len(lanes))
        lanes[lane : lane + 1] = [max(span.started, span.ended)]
        places.append(lane)
    first, middles, top = {}, {}, 0.0
    for worker, lanes in ends.items():
        first[worker], middles[worker] = top, top + (len(lanes) - 1) / 2
        top += len(lanes) + _BETWEEN
    return [first[span.worker] + place for span, place in zip(spans, places, strict=True)], middles


def _described(span: Span) -> str:
    again = f", attempt {span.token}" if span.token > 1 else ""
    return f"trial {span.number}{again}: {span.state}, {(span.ended - span.started).total_seconds():.1f} s"


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
