"""Ranges of numbers: `Float`, `Int`, and `Lambda` for the strength of a penalty, which may be exactly zero."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from search_spaces.domains import Domain, Value, in_unit, stored
from search_spaces.mistakes import Mistake, check, finite_mistakes, is_whole, told
from search_spaces.scales import Linear, Logarithmic, Multiplied, Scale, Stepped, WholeLogarithmic

MOST_STEPS = 10**9  # more values than this are a continuous range
LARGEST_INT = 10**12  # whole numbers up to here go through logarithms and the unit interval without loss
CLOSEST = 1e-9  # relative distance of low and high below which ten digits cannot tell values apart


class _Range(Domain):
    """What the ranges share. The arithmetic is in their scale."""

    low: float
    high: float

    @property
    @abstractmethod
    def scale(self) -> Scale: ...

    @property
    def extremes(self) -> tuple[Value, ...]:
        return (self.low, self.scale.last)

    @property
    def count(self) -> int | None:
        return self.scale.count

    def problem(self, value: object) -> str | None:
        wrong = finite_mistakes("value", value, whole=is_whole(self.low))
        if wrong:
            return wrong[0].text
        number: Any = value
        if not self.low <= number <= self.high:
            return f"is {told(value)}; expected a number from {self.low!r} to {self.high!r}."
        if not self.scale.holds(number):
            return f"is {told(value)}, between two steps; the nearest value is {self.scale.nearest(number)!r}."
        return None

    def place(self, value: Any) -> float:
        return self.scale.to_unit(value)

    def from_unit(self, u: float) -> Value:
        return self.scale.from_unit(in_unit(u))

    def snap(self, value: object) -> Value:
        check(finite_mistakes("value", value))
        number: Any = value
        return self.scale.nearest(number)

    def grid(self, points: int) -> list[Value]:
        return list(self.scale.grid(points))


@dataclass(frozen=True)
class Float(_Range):
    """A number from `low` to `high`, both included.

    Args:
        low: lower end; positive with `log`.
        high: upper end.
        log: whether all orders of magnitude are equally likely, as is right for learning rates. Default False.
        step: distance of neighbouring values, counted from `low`; with `log` the factor between them, as in
            KerasTuner: `Float(1e-4, 1e-1, log=True, step=10)` has four values. Default None: every number.

    Raises:
        InvalidSpace: with every mistake.
    """

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check(_range_mistakes(self.low, self.high, log=self.log, step=self.step, whole=False))
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value) + 0.0)

    @cached_property
    def scale(self) -> Scale:
        if self.step is not None:
            return (Multiplied if self.log else Stepped)(self.low, self.high, self.step)
        return (Logarithmic if self.log else Linear)(self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        return {"type": "float", "low": self.low, "high": self.high, "log": self.log, "step": self.step}


@dataclass(frozen=True)
class Int(_Range):
    """A whole number from `low` to `high`, both included.

    Args:
        low: lower end; at least 1 with `log`.
        high: upper end.
        log: whether all orders of magnitude are equally likely, as is right for widths. Default False.
        step: distance of neighbouring values, counted from `low`; with `log` the factor between them, as in
            KerasTuner: `Int(16, 128, log=True, step=2)` is 16, 32, 64 or 128. Default 1: every whole number.

    Raises:
        InvalidSpace: with every mistake.
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    step: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check(_range_mistakes(self.low, self.high, log=self.log, step=self.step, whole=True))
        for name in ("low", "high", "step"):
            object.__setattr__(self, name, int(getattr(self, name)))

    @cached_property
    def scale(self) -> Scale:
        if not self.log:
            return Stepped(self.low, self.high, self.step)
        if self.step == 1:
            return WholeLogarithmic(self.low, self.high)
        return Multiplied(self.low, self.high, self.step)

    def to_json(self) -> dict[str, Any]:
        return {"type": "int", "low": self.low, "high": self.high, "log": self.log, "step": self.step}


@dataclass(frozen=True)
class Lambda(_Range):
    """The strength of a penalty: exactly 0.0 (no penalty), or log-uniform from `low` to `high`.

    The simplest strength is none at all, and a logarithm never reaches it. So the lower part of the unit interval
    means 0.0 and the rest is logarithmic: samplers see a box, and small strengths lie next to zero.

    Args:
        low: smallest positive strength. Default 1e-7.
        high: largest strength. Default 1e-1.
        zero: share of the unit interval that means 0.0, from 0.01 to 0.99. Default 0.2.

    Raises:
        InvalidSpace: with every mistake.
    """

    low: float = 1e-7
    high: float = 1e-1
    zero: float = field(default=0.2, kw_only=True)

    def __post_init__(self) -> None:
        found = _range_mistakes(self.low, self.high, log=True, step=None, whole=False)
        wrong = finite_mistakes("zero", self.zero)
        if not wrong and not 0.01 <= self.zero <= 0.99:
            wrong = [Mistake("zero", f"is {told(self.zero)}; expected the share of zero, from 0.01 to 0.99.")]
        check([*found, *wrong])
        for name in ("low", "high", "zero"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @cached_property
    def scale(self) -> Scale:
        return Logarithmic(self.low, self.high)

    @property
    def extremes(self) -> tuple[Value, ...]:
        return (0.0, self.low, self.high)

    def problem(self, value: object) -> str | None:
        wrong = finite_mistakes("value", value)
        if wrong:
            return wrong[0].text
        number: Any = value
        if number == 0 or self.scale.holds(number):
            return None
        return f"is {told(value)}; expected 0.0, or a number from {self.low!r} to {self.high!r}."

    def place(self, value: Any) -> float:
        return self.zero / 2 if value == 0 else self.zero + (1 - self.zero) * self.scale.to_unit(value)

    def from_unit(self, u: float) -> Value:
        if in_unit(u) < self.zero:
            return 0.0
        return self.scale.from_unit(min((u - self.zero) / (1 - self.zero), 1.0))

    def snap(self, value: object) -> Value:
        check(finite_mistakes("value", value))
        number: Any = value
        return 0.0 if number <= 0 else self.scale.nearest(number)

    def grid(self, points: int) -> list[Value]:
        return [0.0, *self.scale.grid(points - 1)] if points > 1 else [0.0]

    def to_json(self) -> dict[str, Any]:
        return {"type": "lambda", "low": self.low, "high": self.high, "zero": self.zero}


def _range_mistakes(low: Any, high: Any, *, log: Any, step: Any, whole: bool) -> list[Mistake]:
    found = [*finite_mistakes("low", low, whole=whole), *finite_mistakes("high", high, whole=whole)]
    sound_step = step is not None
    if step is not None or whole:
        wrong = finite_mistakes("step", step, whole=whole)
        found, sound_step = [*found, *wrong], not wrong
    if not isinstance(log, bool):
        found.append(Mistake("log", f"is {told(log)}; expected true or false."))
    if any(mistake.path in ("low", "high") for mistake in found):
        return found
    bounds = _bound_mistakes(low, high, log=log is True, whole=whole)
    if bounds or not sound_step or not isinstance(log, bool):
        return [*found, *bounds]
    text = _step_problem(low, high, step, log=log, whole=whole)
    return [*found, Mistake("step", f"is {told(step)}; {text}")] if text else found


def _bound_mistakes(low: Any, high: Any, *, log: bool, whole: bool) -> list[Mistake]:
    found = []
    if low > high:
        found.append(Mistake("low", f"is {told(low)}, above high = {told(high)}; expected low below high."))
    elif low == high:
        fixed = f"{{type: fixed, value: {stored(low)!r}}}"
        found.append(Mistake("low", f"is {told(low)}, equal to high; to fix the value write {fixed}."))
    elif high - low <= CLOSEST * max(abs(low), abs(high)):
        found.append(Mistake("low", f"is {told(low)}, too close to high = {told(high)}; expected a wider range."))
    elif not math.isfinite(high - low) or (whole and max(abs(low), abs(high)) > LARGEST_INT):
        limit = f"within {-LARGEST_INT:.0e} to {LARGEST_INT:.0e}" if whole else "that a floating-point number can span"
        found.append(Mistake("high", f"is {told(high)}, with low = {told(low)}; expected a range {limit}."))
    if log and low <= 0:
        hint = "at least 1" if whole else "a positive number such as 1.0e-7"
        found.append(Mistake("low", f"is {told(low)}; expected {hint}: a logarithm needs it."))
    return found


def _step_problem(low: Any, high: Any, step: Any, *, log: bool, whole: bool) -> str | None:
    if log:
        if whole and step == 1:
            return None
        if step <= 1:
            return "with log it is the factor between values: expected a number above 1."
        return None if low * step <= high else f"low * step is above high = {told(high)}: expected a smaller factor."
    if step <= 0:
        return "expected a positive number."
    if step > high - low:
        return f"expected at most high - low = {stored(high - low)!r}."
    if (high - low) / step > MOST_STEPS and not whole:
        return "that makes more than a billion values: leave the step out."
    if step < 1e-12 * max(abs(low), abs(high)):
        return "too small beside low and high: leave the step out."
    return None
