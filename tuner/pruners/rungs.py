"""The objectives of all trials at one epoch, kept in order, so that a decision looks up instead of sorting."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, overload

Direction = Literal["minimize", "maximize"]


FEW = 32  # new objectives that are put in order one by one; more of them are cheaper to sort together


class Rung:
    """Finite objectives at one epoch by trial number, best first. Each new one costs a binary search and a shift.

    Ties are ordered by trial number. A value that is not finite is nobody's rival: it is left out. What was set is put
    in order when somebody looks: a study that is read from its rows sets a hundred thousand before anyone does.
    """

    def __init__(self, direction: Direction) -> None:
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._values: dict[int, float] = {}
        self._ordered: list[tuple[float, int]] = []
        self._new: list[tuple[float, int]] = []  # those of them that are not in order yet

    def set(self, number: int, value: float) -> None:
        """Add a trial's objective, or replace the one it had."""
        old = self._values.pop(number, None)
        if old is not None:
            self._put_in_order()
            del self._ordered[self._position(number, old)]
        if math.isfinite(value):
            self._values[number] = value
            self._new.append((self._sign * value, number))

    def without(self, number: int) -> Rivals:
        """All trials at this rung but the given one."""
        self._put_in_order()
        value = self._values.get(number)
        hole = None if value is None else self._position(number, value)
        return Rivals(self._ordered, self._sign, hole)

    def _put_in_order(self) -> None:
        if len(self._new) > FEW:
            self._ordered += self._new
            self._ordered.sort()
        else:
            for item in self._new:
                insort(self._ordered, item)
        self._new.clear()

    def _position(self, number: int, value: float) -> int:
        return bisect_left(self._ordered, (self._sign * value, number))


class Rivals(Sequence[tuple[int, float]]):
    """(trial number, objective) from the best to the worst; a view that costs nothing to make."""

    def __init__(self, ordered: list[tuple[float, int]], sign: float, hole: int | None) -> None:
        self._ordered, self._sign, self._hole = ordered, sign, hole

    def __len__(self) -> int:
        return len(self._ordered) - (self._hole is not None)

    @overload
    def __getitem__(self, index: int) -> tuple[int, float]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[int, float], ...]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, float] | tuple[tuple[int, float], ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} rivals; number {index} was asked for.")
        key, number = self._ordered[index + (self._hole is not None and index >= self._hole)]
        return number, self._sign * key

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return (self[i] for i in range(len(self)))

    def best(self, count: int) -> tuple[tuple[int, float], ...]:
        """The best `count` of them, or all where there are fewer."""
        return tuple(islice(self, count))
