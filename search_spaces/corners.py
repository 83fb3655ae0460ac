"""A few points of a space at which a dry run finds what cannot work.

The first point takes the lowest of everything and the second the highest. Each further point is made for a value that
no point has shown yet, and shows what else it can: until every option of every choice, and both ends of every range
that can be active, were shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_spaces.conditions import is_active
from search_spaces.domains import Choice, Value
from search_spaces.mistakes import is_number

if TYPE_CHECKING:
    from search_spaces.space import Space

_Candidates = dict[str, list[Value]]


def corners(space: Space) -> list[dict[str, Value]]:
    """The points, lowest and highest first. For the family mlp these are eight."""
    candidates = {name: _candidates(space, name) for name in space.order}
    lowest = _point(space, {name: values[0] for name, values in candidates.items()})
    highest = _point(space, {name: values[-1] for name, values in candidates.items()})
    points = [lowest] if lowest == highest else [lowest, highest]
    shown = {(name, value) for point in points for name, value in point.items()}
    for name in space.order:
        for value in candidates[name]:
            needed = _needed(space, candidates, name, value)
            if (name, value) in shown or needed is None:
                continue
            point = _point(space, {**_unshown(candidates, shown), **needed})
            points.append(point)
            shown.update(point.items())
    return points


def _candidates(space: Space, name: str) -> list[Value]:
    """The values worth showing, lowest first: the ends of the domain, and what its children wait for."""
    domain = space.parameters[name]
    awaited = [value for parents in space.conditions.values() for value in parents.get(name, ())]
    values = list(dict.fromkeys(domain.extremes if isinstance(domain, Choice) else [*domain.extremes, *awaited]))
    return sorted(values, key=_magnitude) if all(is_number(value) for value in values) else values


def _magnitude(value: Any) -> float:
    return float(value)


def _unshown(candidates: _Candidates, shown: set[tuple[str, Value]]) -> dict[str, Value]:
    """For each parameter the first value that was not shown, or the lowest."""
    return {
        name: next((value for value in values if (name, value) not in shown), values[0])
        for name, values in candidates.items()
    }


def _needed(space: Space, candidates: _Candidates, name: str, value: Value) -> dict[str, Value] | None:
    """The values of `name` and its ancestors that make it active with `value`; None where nothing does."""
    allowed = {name: [value]}
    pending = [name]
    while pending:
        for parent, values in space.conditions.get(pending.pop(), {}).items():
            allowed[parent] = [each for each in allowed.get(parent, candidates[parent]) if each in values]
            pending.append(parent)
    return {each: values[0] for each, values in allowed.items()} if all(allowed.values()) else None


def _point(space: Space, values: dict[str, Value]) -> dict[str, Value]:
    point: dict[str, Value] = {}
    for name in space.order:
        if is_active(name, space.conditions, point):
            point[name] = values[name]
    return point
