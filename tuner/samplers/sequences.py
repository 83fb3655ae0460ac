"""Two samplers that need no history: a Sobol sequence, and a walk over a grid.

Both respect the conditions of a space, and give the same point for the same seed and number. Optuna's own need
`scipy.stats` for the one, which takes a second to import, and for the other the whole product of all values in
memory, with a copy of each point for every value of each parameter that does not even apply to it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from search_spaces import Space
from tuner.samplers.points import Exhausted, Observation, Proposal, Taken, define_by_run, distinct, variation

GRID_POINTS = 5  # values of a continuous parameter on the grid; choices and small ranges give all of theirs

# Degree, coefficients and initial numbers of the polynomials of dimensions 2 to 21, from Joe and Kuo 2008,
# "Constructing Sobol sequences with better two-dimensional projections", table new-joe-kuo-6.
_POLYNOMIALS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
    (5, 4, (1, 1, 5, 5, 5)),
    (5, 7, (1, 1, 7, 11, 19)),
    (5, 11, (1, 1, 5, 1, 1)),
    (5, 13, (1, 1, 1, 3, 11)),
    (5, 14, (1, 3, 5, 5, 31)),
    (6, 1, (1, 3, 3, 9, 7, 49)),
    (6, 13, (1, 1, 1, 15, 21, 21)),
    (6, 16, (1, 3, 1, 13, 27, 49)),
    (6, 19, (1, 1, 1, 15, 7, 5)),
    (6, 22, (1, 3, 1, 15, 13, 25)),
    (6, 25, (1, 1, 5, 5, 19, 61)),
    (7, 1, (1, 3, 7, 11, 23, 15, 103)),
    (7, 4, (1, 3, 7, 13, 13, 15, 69)),
)
_BITS = 32


def sobol(index: int, dimensions: int, seed: int) -> list[float]:
    """Point `index` of a Sobol sequence in the open unit box, shifted at random by `seed`.

    The shift flips the same binary digits of every point, so any 2**k points in a row that start at a multiple of
    2**k still lie one in each of 2**k equal slices of every axis. Dimensions beyond 21 are drawn at random.
    """
    draw = random.Random(seed)
    shifts = [draw.getrandbits(_BITS) for _ in range(min(dimensions, len(_POLYNOMIALS) + 1))]
    point = [(_digits(index, axis) ^ shift) + 0.5 for axis, shift in enumerate(shifts)]
    rest = random.Random(seed * 2**_BITS + index)
    return [value / 2**_BITS for value in point] + [rest.random() for _ in range(dimensions - len(point))]


def _digits(index: int, axis: int) -> int:
    numbers, gray, digits = _direction_numbers(axis), index ^ (index >> 1), 0
    for bit in range(min(gray.bit_length(), _BITS)):
        if gray >> bit & 1:
            digits ^= numbers[bit]
    return digits


@cache
def _direction_numbers(axis: int) -> tuple[int, ...]:
    if axis == 0:
        return tuple(1 << (_BITS - 1 - i) for i in range(_BITS))
    degree, coefficients, initial = _POLYNOMIALS[axis - 1]
    numbers = [number << (_BITS - 1 - i) for i, number in enumerate(initial)]
    for i in range(degree, _BITS):
        number = numbers[i - degree] ^ (numbers[i - degree] >> degree)
        for k in range(1, degree):
            if coefficients >> (degree - 1 - k) & 1:
                number ^= numbers[i - k]
        numbers.append(number)
    return tuple(numbers)


class Sobol:
    """`qmc`: trial `number` gets point `number` of the sequence, whatever became of the others."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._names = [name for name in space.order if name in space.free]

    def observe(self, observation: Observation) -> None:
        """A sequence does not learn."""

    def forget(self, number: int) -> None:
        """A sequence does not learn."""

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:
        params = self._point(number, self._seed)
        # A point that is taken comes again for the same number; the sequence under another shift has other points.
        return Proposal(self._point(number, seed) if taken(params) else params)

    def propose_together(
        self,
        number: int,
        size: int,
        varied: Collection[str],
        seed: int,  # noqa: ARG002
        taken: Taken,
    ) -> list[Proposal]:
        """Structures in the order of the sequence, and variations in that of the same sequence over all trials."""
        first = self._point(number // size, self._seed)
        points = (variation(self._space, first, varied, self._places(k, self._seed)) for k in itertools.count(number))
        return distinct(map(Proposal, points), size, taken)

    def _point(self, number: int, seed: int) -> dict[str, Any]:
        return self._space.from_unit(self._places(number, seed))

    def _places(self, number: int, seed: int) -> dict[str, float]:
        return dict(zip(self._names, sobol(number, len(self._names), seed), strict=True))


class Grid:
    """The points of a grid over a space, each once, in an order that the seed shuffles.

    A walk through the product of all values in steps of a number that has no divisor in common with its size:
    nothing is listed in memory, whatever the size. Points that a user enqueued are not visited again.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._values = {name: space.parameters[name].grid(GRID_POINTS) for name in space.order}
        self.size = math.prod(len(values) for values in self._values.values())
        self._start, self._step = _stride(self.size, random.Random(seed))
        self._passed = 0

    def observe(self, observation: Observation) -> None:
        """A grid does not learn."""

    def forget(self, number: int) -> None:  # noqa: ARG002
        self._passed = 0  # one of the points it went past is free again

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:  # noqa: ARG002
        return Proposal(self._next(taken)[1])

    def propose_together(
        self,
        number: int,  # noqa: ARG002
        size: int,
        varied: Collection[str],
        seed: int,
        taken: Taken,
    ) -> list[Proposal]:
        """The next point of the walk, and the points of a walk over the values of `varied` from there."""
        chosen, first = self._next(taken)
        names = [name for name in self._values if name in varied]
        count = math.prod(len(self._values[name]) for name in names)
        start, step = _stride(count, random.Random(seed))
        places = ((start + k * step) % count for k in range(count))
        points = (self._params({**chosen, **self._indices(place, names)}) for place in places)
        return distinct(map(Proposal, itertools.chain([first], filter(None, points))), size, taken)

    def _next(self, taken: Taken) -> tuple[dict[str, int], dict[str, Any]]:
        """The next point that nobody has: the index of each parameter's value, and the point."""
        while self._passed < self.size:
            chosen = self._indices((self._start + self._passed * self._step) % self.size, self._values)
            params = self._params(chosen)
            if params is not None and not taken(params):
                return chosen, params
            self._passed += 1  # for good: what was observed once stays taken
        raise Exhausted("Every point of the grid has been tried.")

    def _indices(self, place: int, names: Iterable[str]) -> dict[str, int]:
        """One point of the product of the values of some parameters."""
        chosen: dict[str, int] = {}
        for name in names:
            place, chosen[name] = divmod(place, len(self._values[name]))
        return chosen

    def _params(self, chosen: dict[str, int]) -> dict[str, Any] | None:
        """The point; None for all but one of those that differ in inactive parameters only."""
        params = define_by_run(self._space, lambda name: self._values[name][chosen[name]])
        return params if all(name in params or index == 0 for name, index in chosen.items()) else None


def _stride(size: int, draw: random.Random) -> tuple[int, int]:
    """Where a walk through `size` places starts, and a step that takes it to each of them once."""
    start, step = draw.randrange(size), draw.randrange(1, size + 1)
    while math.gcd(step, size) > 1:
        step += 1
    return start, step
