"""When a parameter is active: rules over its parents, checked, and the order in which they can be decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from search_spaces.domains import Domain, Value, same
from search_spaces.mistakes import Mistake, listed, near, told

Conditions = dict[str, dict[str, tuple[Value, ...]]]
"""child -> parent -> values. A child is active when each parent is active and has one of its values."""


def condition_mistakes(parameters: Mapping[str, Domain | None], conditions: Any) -> list[Mistake]:
    """Every mistake of `conditions`. A parameter whose own form is broken has the domain None."""
    if not isinstance(conditions, Mapping):
        return [Mistake("conditions", f"is {told(conditions)}; expected {{child: {{parent: [values]}}}}.")]
    found: list[Mistake] = []
    for child, parents in conditions.items():
        where = f"{child}.when"
        if child not in parameters:
            found.append(Mistake(where, f"is for a parameter that does not exist.{near(child, parameters)}"))
        elif not isinstance(parents, Mapping) or not parents:
            found.append(Mistake(where, f"is {told(parents)}; expected {{parent: [values]}}."))
        else:
            for parent, values in parents.items():
                found += _parent_mistakes(f"{where}.{parent}", parent, values, parameters)
    return found or _cycle_mistakes(conditions)


def normalized(parameters: Mapping[str, Domain], conditions: Mapping[str, Mapping[str, Any]]) -> Conditions:
    """Sound conditions with values as their parents store them, each once and in their parent's order."""

    def stored(parent: str, values: Any) -> tuple[Value, ...]:
        domain = parameters[parent]
        return tuple(sorted(dict.fromkeys(domain.snap(value) for value in values), key=domain.to_unit))

    return {
        child: {parent: stored(parent, values) for parent, values in parents.items()}
        for child, parents in conditions.items()
    }


def decision_order(names: Iterable[str], conditions: Conditions) -> tuple[str, ...]:
    """Parents before children, otherwise by name: the same for equal spaces, however they were written down."""
    order: dict[str, None] = {}
    waiting = sorted(names)
    while waiting:
        ready = [name for name in waiting if order.keys() >= set(conditions.get(name, ()))]
        order.update(dict.fromkeys(ready))
        waiting = [name for name in waiting if name not in order]
    return tuple(order)


def is_active(name: str, conditions: Conditions, active: Mapping[str, Any]) -> bool:
    """Whether `name` is active, given the values of the active parameters before it."""
    return all(
        parent in active and any(same(value, active[parent]) for value in values)
        for parent, values in conditions.get(name, {}).items()
    )


def _parent_mistakes(path: str, parent: Any, values: Any, parameters: Mapping[str, Domain | None]) -> list[Mistake]:
    if parent not in parameters:
        hint = near(parent, parameters) or f" The parameters are: {listed(parameters)}."
        return [Mistake(path, f"names a parent that does not exist.{hint}")]
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        return [Mistake(path, f"is {told(values)}; expected a list of values of {parent}.")]
    given = list(values)
    if not given:
        return [Mistake(path, f"is an empty list; expected at least one value of {parent}.")]
    domain = parameters[parent]
    if domain is None:
        return []
    return [Mistake(f"{path}[{k}]", text) for k, value in enumerate(given) if (text := domain.problem(value))]


def _cycle_mistakes(conditions: Mapping[str, Mapping[str, Any]]) -> list[Mistake]:
    cycle = _find_cycle(conditions)
    if not cycle:
        return []
    return [
        Mistake(f"{cycle[0]}.when", f"makes a cycle: {' -> '.join(map(str, cycle))}. Remove one of these conditions.")
    ]


def _find_cycle(conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    finished: set[str] = set()
    for start in conditions:
        path: list[str] = []
        pending = [(start, 0)]
        while pending:
            name, depth = pending.pop()
            del path[depth:]
            if name in path:
                return [*path[path.index(name) :], name]
            path.append(name)
            if name not in finished:
                pending += [(parent, depth + 1) for parent in conditions.get(name, ())]
        finished.update(_ancestors(start, conditions))
    return []


def _ancestors(start: str, conditions: Mapping[str, Mapping[str, Any]]) -> set[str]:
    seen, pending = {start}, [start]
    while pending:
        for parent in conditions.get(pending.pop(), ()):
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return seen
