"""Points of a space as rows of numbers, many at a time: what a model of the objective works on.

Two forms. *Places*: a number in [0, 1] per free parameter, as `Space.to_unit` gives it; here points are drawn, moved
and compared. *Features*: what a kernel measures distances between. There a number keeps its place, a choice is one
column per option, scaled so that two options are 1 apart, and a parameter that is inactive has the same features
everywhere: the middle for a number, zeros for a choice. It cannot tell two points apart then; its parents do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import Choice, Domain, Lambda, Space
from tuner.samplers.points import define_by_run

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MOST_VALUES = 4096  # a range of more values is drawn as if it were continuous
_SAME = 1e-9  # places closer than this are one


class Encoding:
    """Both forms of the points of a space. Rows are points; columns of places are the free parameters in `names`."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.names = [name for name in space.order if name in space.free]
        domains = [space.parameters[name] for name in self.names]
        self._domains = list(zip(self.names, domains, strict=True))
        self._values = [_places_of_values(domain) for domain in domains]
        self._zeros = [domain.zero if isinstance(domain, Lambda) else 0.0 for domain in domains]
        self._options = [domain.count if isinstance(domain, Choice) else 0 for domain in domains]
        self.choices = np.array([count > 0 for count in self._options])
        counts = [2 if values is None else len(values) for values in self._values]
        self.steps = 1.0 / np.array([np.inf if v is None else n for v, n in zip(self._values, counts, strict=True)])
        widths = [max(count, 1) for count in self._options]
        self.groups = np.repeat(np.arange(len(self.names)), widths)  # feature column -> column of places

    def columns(self, names: Collection[str]) -> Flags:
        """Which columns of places belong to these parameters."""
        return np.array([name in names for name in self.names], dtype=bool)

    def places(self, params: Mapping[str, Any]) -> Floats:
        """One point of the space as a row of places; inactive parameters are at 0.5."""
        return np.array(self.row(params))

    def row(self, params: Mapping[str, Any]) -> list[float]:
        """The same, to be put into a matrix."""
        return [domain.place(params[name]) if name in params else 0.5 for name, domain in self._domains]

    def point(self, places: Floats) -> dict[str, Any]:
        """The point of a row of places, with its active parameters and the fixed ones."""
        units = dict(zip(self.names, places.tolist(), strict=True))
        domains = self.space.parameters
        return define_by_run(self.space, lambda name: domains[name].from_unit(units.get(name, 0.5)))

    def snapped(self, places: Floats) -> Floats:
        """The same rows, each number moved to the place of the value it stands for; inactive ones to 0.5."""
        result = np.clip(places, 0.0, 1.0)
        for column, (values, zero) in enumerate(zip(self._values, self._zeros, strict=True)):
            if values is not None:
                between = (values[1:] + values[:-1]) / 2
                result[:, column] = values[np.searchsorted(between, result[:, column], side="right")]
            elif zero:
                result[:, column] = np.where(result[:, column] < zero, zero / 2, result[:, column])
        return np.where(self.active(result), result, 0.5)

    def active(self, places: Floats) -> Flags:
        """Which parameters are active in each row of snapped places."""
        known: dict[str, Flags] = {}
        for name in self.space.order:
            known[name] = np.ones(len(places), dtype=bool)
            for parent, values in self.space.conditions.get(name, {}).items():
                known[name] &= known[parent] & self._has(places, parent, values)
        return np.array([known[name] for name in self.names], dtype=bool).T

    def _has(self, places: Floats, parent: str, values: Sequence[Any]) -> Flags:
        domain = self.space.parameters[parent]
        allowed = np.array([domain.to_unit(value) for value in values])
        if parent not in self.names:  # fixed: one value for every point
            return np.full(len(places), bool(len(allowed)))
        return np.asarray(np.abs(places[:, self.names.index(parent), None] - allowed).min(axis=1) < _SAME)

    def features(self, places: Floats) -> Floats:
        """Rows of features for rows of snapped places."""
        active = self.active(places)
        columns = []
        for column, options in enumerate(self._options):
            own = places[:, column, None]
            if options:
                mine = (own * options).astype(int) == np.arange(options)
                own = np.where(active[:, column, None] & mine, np.sqrt(0.5), 0.0)
            columns.append(own)
        return np.hstack(columns)

    def moved(self, places: Floats, which: Flags, step: float, draw: np.random.Generator) -> Floats:
        """Rows with the numbers in `which` moved by about `step`, at least to a neighbour, and choices drawn anew."""
        far = places + draw.normal(size=places.shape) * np.maximum(step, self.steps)
        far = 1.0 - np.abs(1.0 - np.abs(far) % 2.0)  # reflected at both ends
        fresh = np.where(self.choices, draw.random(places.shape), far)
        return self.snapped(np.where(which, fresh, places))


def _places_of_values(domain: Domain) -> Floats | None:
    """Where the values of a small domain lie, in order; None for a continuous range or a large one."""
    count = domain.count
    if count is None or count > _MOST_VALUES:
        return None
    return np.array([domain.to_unit(value) for value in domain.grid(count)])


def keys(rows: Floats) -> list[bytes]:
    """Equal for equal rows."""
    return [row.tobytes() for row in np.round(rows, 8) + 0.0]


def squares(left: Floats, right: Floats) -> Floats:
    """Squared distances between the rows of two matrices."""
    both = left @ (-2.0 * right.T)
    both += (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
    return np.asarray(np.maximum(both, 0.0, out=both))
