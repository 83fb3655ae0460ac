"""What one hyperparameter may be, and how samplers see it: as a number in the unit interval.

Every domain maps its values into [0, 1] and back. A value that a domain made (`from_unit`, `snap`, `grid`) survives
the round trip bit by bit, `from_unit(to_unit(value)) == value`, because proposals are made again from stored rows
after a restart. Numbers from a continuous range therefore carry ten digits: more than any hyperparameter needs, and
far coarser than the rounding errors of the way there and back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from search_spaces.mistakes import InvalidSpace, Mistake, brief, check, is_finite, is_number, is_whole, listed, told

Value = None | bool | int | float | str
"""What a hyperparameter can be: what JSON, Optuna and a person can tell apart."""


class Domain(ABC):
    """The values one hyperparameter can take."""

    @property
    @abstractmethod
    def extremes(self) -> tuple[Value, ...]:
        """The values at the edges: lowest and highest of a range, all options of a choice."""

    @property
    @abstractmethod
    def count(self) -> int | None:
        """How many values there are, all of which `grid(count)` lists; None for a continuous range."""

    @abstractmethod
    def problem(self, value: object) -> str | None:
        """Why `value` is not in this domain ("is 7; expected ..."), None where it is."""

    def to_unit(self, value: object) -> float:
        """The place of `value` in [0, 1]. Raises `InvalidSpace` for a value that is not in this domain."""
        self.validate(value)
        return self.place(value)

    @abstractmethod
    def place(self, value: Any) -> float:
        """`to_unit` of a value that is known to be in this domain: a tenth of the work."""

    @abstractmethod
    def from_unit(self, u: float) -> Value:
        """The value at `u` in [0, 1]; the exact inverse of `to_unit` for values that this domain made."""

    @abstractmethod
    def snap(self, value: object) -> Value:
        """The value of this domain nearest to `value`, in the form in which it is stored.

        Raises:
            InvalidSpace: where nothing is near, such as a text for a number.
        """

    @abstractmethod
    def grid(self, points: int) -> list[Value]:
        """About `points` different values, evenly spread with both ends; all options of a choice."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """A plain form that `domain_from_json` turns back into an equal domain."""

    def validate(self, value: object) -> None:
        """Raises `InvalidSpace` for a value that is not in this domain."""
        problem = self.problem(value)
        if problem is not None:
            raise InvalidSpace([Mistake("value", problem)])


class Finite(Domain):
    """A domain of `count` values in order. Each has an equal share of the unit interval."""

    @property
    @abstractmethod
    def count(self) -> int: ...

    @abstractmethod
    def value_at(self, index: int) -> Value: ...

    @abstractmethod
    def index_of(self, value: object) -> int:
        """The index of a valid value."""

    def place(self, value: Any) -> float:
        return (self.index_of(value) + 0.5) / self.count

    def from_unit(self, u: float) -> Value:
        return self.value_at(min(int(in_unit(u) * self.count), self.count - 1))

    def grid(self, points: int) -> list[Value]:
        return [self.value_at(index) for index in spread(self.count, points)]


@dataclass(frozen=True)
class Choice(Finite):
    """One of several options without an order, for example the name of an optimizer.

    Args:
        options: at least two different values: None, bool, int, float or str. 1, 1.0 and True count as the same,
            because samplers cannot tell them apart.

    Raises:
        InvalidSpace: with every mistake.
    """

    options: tuple[Value, ...]

    def __init__(self, options: Iterable[Value]) -> None:
        check(_option_mistakes(options))
        object.__setattr__(self, "options", tuple(stored(option) for option in options))

    @property
    def count(self) -> int:
        return len(self.options)

    @property
    def extremes(self) -> tuple[Value, ...]:
        return self.options

    def value_at(self, index: int) -> Value:
        return self.options[index]

    def index_of(self, value: object) -> int:
        return self.options.index(value)  # no two options are equal, not even 1 and True

    def problem(self, value: object) -> str | None:
        if any(same(option, value) for option in self.options):
            return None
        return f"is {told(value)}; expected one of {listed(brief(option) for option in self.options)}."

    def snap(self, value: object) -> Value:
        self.validate(value)
        return self.options[self.index_of(value)]

    def grid(self, points: int) -> list[Value]:  # noqa: ARG002  # options have no order: none stands for another
        return list(self.options)

    def to_json(self) -> dict[str, Any]:
        return {"type": "choice", "options": list(self.options)}


@dataclass(frozen=True)
class Fixed(Finite):
    """A hyperparameter that is not tuned: every trial has this value.

    Args:
        value: None, bool, a finite int or float, or str.

    Raises:
        InvalidSpace: for anything else.
    """

    value: Value

    def __post_init__(self) -> None:
        problem = _value_problem(self.value)
        check([Mistake("value", problem)] if problem else [])
        object.__setattr__(self, "value", stored(self.value))

    @property
    def count(self) -> int:
        return 1

    @property
    def extremes(self) -> tuple[Value, ...]:
        return (self.value,)

    def value_at(self, index: int) -> Value:  # noqa: ARG002  # there is only one
        return self.value

    def index_of(self, value: object) -> int:  # noqa: ARG002
        return 0

    def problem(self, value: object) -> str | None:
        return None if same(self.value, value) else f"is {told(value)}; expected {brief(self.value)}: it is fixed."

    def snap(self, value: object) -> Value:
        self.validate(value)
        return self.value

    def to_json(self) -> dict[str, Any]:
        return {"type": "fixed", "value": self.value}


def same(left: object, right: object) -> bool:
    """Whether two values mean the same. True is not 1 here: a 1 given for a bool is a mistake."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    numbers = is_number(left) and is_number(right)
    return bool(left == right) if numbers or type(left) is type(right) or isinstance(right, str) else False


def stored(value: Any) -> Value:
    """The value as plain Python: numbers of other libraries lose their type, -0.0 its sign."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    return int(value) if is_whole(value) else float(value) + 0.0


def in_unit(u: float) -> float:
    """`u` itself. Raises `InvalidSpace` outside [0, 1], and for NaN."""
    if not 0.0 <= u <= 1.0:
        raise InvalidSpace([Mistake("u", f"is {told(u)}; expected a number from 0 to 1.")])
    return u


def spread(count: int, points: int) -> list[int]:
    """At most `points` different indices from 0 to count - 1, evenly spread with both ends."""
    if points >= count:
        return list(range(count))
    if points <= 1:
        return [(count - 1) // 2]
    return [round(k * (count - 1) / (points - 1)) for k in range(points)]


def _option_mistakes(options: Any) -> list[Mistake]:
    if isinstance(options, str) or not isinstance(options, Iterable):
        return [Mistake("options", f"is {told(options)}; expected a list of at least two values.")]
    values = list(options)
    found = [Mistake(f"options[{k}]", text) for k, value in enumerate(values) if (text := _value_problem(value))]
    if found:
        return found
    for k, value in enumerate(values):
        first = next(earlier for earlier in values if earlier == value)
        position = next(index for index, earlier in enumerate(values) if earlier == value)
        if position < k:
            like = "repeats it" if same(first, value) else f"equals {brief(first)} for a sampler"
            found.append(Mistake(f"options[{k}]", f"is {brief(value)}, which {like}: give each option once."))
    if not values:
        found.append(Mistake("options", "is empty; expected a list of at least two values."))
    elif len(values) == 1:
        found.append(Mistake("options", f"has one value, {brief(values[0])}; expected at least two. "
                             f"To fix it write {{type: fixed, value: {brief(values[0])}}}."))  # fmt: skip
    return found


def _value_problem(value: object) -> str | None:
    if value is None or isinstance(value, (bool, str)):
        return None
    if not is_number(value):
        return f"is {told(value)}; expected null, true, false, a number or a text."
    return None if is_finite(value) else f"is {told(value)}; expected a finite number."
