"""How the numbers of a range lie in the unit interval: evenly or by orders of magnitude, all of them or in steps.

The arithmetic behind `Float`, `Int` and `Lambda`. A scale expects sound bounds (ranges.py checks them) and keeps one
promise: `from_unit(to_unit(v)) == v` for each v that `from_unit` or `nearest` returned. Continuous scales keep it by
rounding to ten digits, which is far coarser than the rounding errors of the way there and back.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Protocol

from search_spaces.domains import spread

DIGITS = 10
_SLACK = 1e-8  # of a step: what rounding may have added to a value that is meant to be on the grid


class Scale(Protocol):
    """Numbers in order, placed in [0, 1]."""

    @property
    def last(self) -> float:
        """The largest number there is; below `high` where the steps do not meet it."""
        ...

    @property
    def count(self) -> int | None:
        """How many numbers there are; None where they are continuous."""
        ...

    def holds(self, value: float) -> bool: ...

    def nearest(self, value: float) -> float: ...

    def to_unit(self, value: float) -> float: ...

    def from_unit(self, u: float) -> float: ...

    def grid(self, points: int) -> list[float]: ...


class Linear:
    """Every number from low to high, all equally likely."""

    count = None

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.last = high
        self._digits = DIGITS - math.floor(math.log10(high - low))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.last

    def nearest(self, value: float) -> float:
        inside = min(max(value, self.low), self.last)
        if inside in (self.low, self.last):
            return inside
        return min(max(self._tidy(inside), self.low), self.last)

    def to_unit(self, value: float) -> float:
        return self._share(min(max(value, self.low), self.last))

    def from_unit(self, u: float) -> float:
        if u in (0.0, 1.0):
            return self.low if u == 0.0 else self.last
        return self.nearest(self._value(u))

    def grid(self, points: int) -> list[float]:
        shares = [k / (points - 1) for k in range(points)] if points > 1 else [0.5]
        return list(dict.fromkeys(self.from_unit(share) for share in shares))

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.last - self.low)

    def _value(self, u: float) -> float:
        return self.low + u * (self.last - self.low)

    def _tidy(self, value: float) -> float:
        return round(value, self._digits) + 0.0


class Logarithmic(Linear):
    """Every number from low to high, all orders of magnitude equally likely."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low, high)
        self._log_low, self._log_high = math.log(low), math.log(high)

    def _share(self, value: float) -> float:
        return (math.log(value) - self._log_low) / (self._log_high - self._log_low)

    def _value(self, u: float) -> float:
        return math.exp(self._log_low + u * (self._log_high - self._log_low))

    def _tidy(self, value: float) -> float:
        return float(f"{value:.{DIGITS}g}")


class Stepped:
    """low, low + step, low + 2 step, ... up to high. Each has an equal share of the unit interval."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._low, self._high, self._step = low, high, step
        self._decimal_low, self._decimal_step = Decimal(repr(low)), Decimal(repr(step))
        self.count = math.floor((Decimal(repr(high)) - self._decimal_low) / self._decimal_step + Decimal(_SLACK)) + 1

    @property
    def last(self) -> float:
        return self.value_at(self.count - 1)

    def value_at(self, index: int) -> float:
        """In decimal arithmetic, so that steps of 0.1 give 0.3 and not 0.30000000000000004."""
        if isinstance(self._low, int) and isinstance(self._step, int):
            return self._low + index * self._step
        return min(float(self._decimal_low + index * self._decimal_step) + 0.0, self._high)

    def index_of(self, value: float) -> int:
        return min(max(round((value - self._low) / self._step), 0), self.count - 1)

    def holds(self, value: float) -> bool:
        return abs(value - self.nearest(value)) <= _SLACK * self._step

    def nearest(self, value: float) -> float:
        return self.value_at(self.index_of(value))

    def to_unit(self, value: float) -> float:
        return (self.index_of(value) + 0.5) / self.count

    def from_unit(self, u: float) -> float:
        return self.value_at(min(int(u * self.count), self.count - 1))

    def grid(self, points: int) -> list[float]:
        return [self.value_at(index) for index in spread(self.count, points)]


class Multiplied(Stepped):
    """low, low * factor, low * factor ** 2, ... up to high. Each has an equal share of the unit interval."""

    def __init__(self, low: float, high: float, factor: float) -> None:
        self._low, self._high, self._step = low, high, factor
        self.count = math.floor((math.log(high) - math.log(low)) / math.log(factor) + _SLACK) + 1

    def value_at(self, index: int) -> float:
        value = self._low * self._step**index
        if isinstance(value, int) or index == 0:
            return value
        return min(float(f"{value:.{DIGITS}g}"), self._high)

    def index_of(self, value: float) -> int:
        if value <= self._low:
            return 0
        place = (math.log(value) - math.log(self._low)) / math.log(self._step)
        return min(round(place), self.count - 1)

    def holds(self, value: float) -> bool:
        return abs(value - self.nearest(value)) <= _SLACK * abs(value)


class WholeLogarithmic:
    """Every whole number from low to high, all orders of magnitude equally likely."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self.last = low, high
        self.count = high - low + 1
        # Half a number beyond both ends, so that the first and the last have their full share.
        self._log_low, self._log_high = math.log(low - 0.5), math.log(high + 0.5)

    def holds(self, value: float) -> bool:
        return self._low <= value <= self.last

    def nearest(self, value: float) -> float:
        return min(max(round(value), self._low), self.last)

    def to_unit(self, value: float) -> float:
        return (math.log(value) - self._log_low) / (self._log_high - self._log_low)

    def from_unit(self, u: float) -> float:
        return self.nearest(math.exp(self._log_low + u * (self._log_high - self._log_low)))

    def grid(self, points: int) -> list[float]:
        if points > self.last - self._low:
            return list(range(self._low, int(self.last) + 1))
        ratio = math.log(self.last / self._low)
        shares = [k / (points - 1) for k in range(points)] if points > 1 else [0.5]
        return list(dict.fromkeys(self.nearest(self._low * math.exp(share * ratio)) for share in shares))
