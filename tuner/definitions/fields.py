"""Reading a mapping that a person wrote: each field checked for type and range, every mistake collected as a sentence.

A sentence starts with the field's path in backticks, says what was given and what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard, TypeVar

from search_spaces.mistakes import is_finite, told
from tuner.names import brief, near

T = TypeVar("T")
_WORD = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_ENTRY_POINT = re.compile(rf"{_WORD}:{_WORD}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number, also one of NumPy's; true and false are none."""
    return isinstance(value, (Integral, Real)) and not isinstance(value, bool) and type(value).__name__ != "bool_"


class Fields:
    """The fields of one mapping.

    Every reader returns the field's value, or the default where the field is absent or wrong; what is wrong is
    added to `problems`, so one pass finds all mistakes.
    """

    def __init__(self, form: Mapping[Any, Any], problems: list[str], path: str = "") -> None:
        self._form = form
        self._path = path
        self.problems = problems

    def __contains__(self, key: str) -> bool:
        return key in self._form

    def raw(self, key: str) -> Any:
        return self._form.get(key)

    def path(self, key: object) -> str:
        return f"`{self._path}{key}`"

    def wrong(self, key: str, expected: str) -> None:
        """Adds the sentence: the field's path, what it is, what was expected."""
        self.problems.append(f"{self.path(key)} is {told(self.raw(key))}; {expected}")

    def only(self, known: Collection[str], synonyms: Mapping[str, str] | None = None) -> None:
        """Refuses keys that are not `known`, and says which known key each resembles."""
        for key in self._form:
            if not isinstance(key, str):
                self.problems.append(f"{self.path(told(key))} is not a field: the names of fields are texts.")
            elif key not in known:
                hint = near(key, known, synonyms) or f" The fields here are: {', '.join(known)}."
                self.problems.append(f"{self.path(shown(key))} is not a field.{hint}")

    def whole(self, key: str, default: int, low: int, high: int, *, nullable: bool = False) -> int:
        """A whole number from `low` to `high`. `nullable`: the sentence says that null is allowed, too."""
        value = self._form.get(key, default)
        if is_number(value) and is_finite(value) and value == int(value) and low <= value <= high:
            return int(value)
        null = ", or null" if nullable else ""
        self.wrong(key, f"expected a whole number from {low:,} to {high:,}{null}.{_number_hint(value)}")
        return default

    def whole_or_none(self, key: str, default: int | None, low: int, high: int) -> int | None:
        """The same, or null."""
        if self._form.get(key, default) is None:
            return None
        known = len(self.problems)
        found = self.whole(key, low if default is None else default, low, high, nullable=True)
        return found if len(self.problems) == known else default

    def number(
        self, key: str, default: float, low: float, high: float, *, above: bool = False, nullable: bool = False
    ) -> float:
        """A finite number from `low` to `high`, or above `low`; `nullable` as of `whole`."""
        value = self._form.get(key, default)
        if is_number(value) and is_finite(value) and low <= value <= high and not (above and value == low):
            return float(value)
        span = f" above {low:g} and at most {high:g}" if above else f" from {low:g} to {high:g}"
        bounds = "" if math.isinf(low) else span
        null = ", or null" if nullable else ""
        self.wrong(key, f"expected a finite number{bounds}{null}.{_number_hint(value)}")
        return default

    def number_or_none(self, key: str, low: float, high: float, *, above: bool = False) -> float | None:
        """The same, or null, which is also the default."""
        return None if self.raw(key) is None else self.number(key, low, low, high, above=above, nullable=True)

    def one_of(self, key: str, default: str, names: Collection[str], synonyms: Mapping[str, str] | None = None) -> str:
        """One of `names`, in any case."""
        if key not in self._form:
            return default
        value = self.raw(key)
        if isinstance(value, str) and value.lower() in names:
            return value.lower()
        hint = near(value, names, synonyms) if isinstance(value, str) else ""
        self.wrong(key, f"expected one of {', '.join(names)}.{hint}")
        return default

    def text(self, key: str, default: T, what: str) -> str | T:
        """A text of 1 to 128 printable characters; null is the default."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, str) and value.strip() == value != "" and value.isprintable() and len(value) <= 128:
            return value
        quotes = f' If that is its name, put it in quotes: "{value}".' if is_number(value) and is_finite(value) else ""
        self.wrong(key, f"expected {what}, 1 to 128 printable characters.{quotes}")
        return default

    def texts(self, key: str, what: str) -> list[str]:
        """A list of distinct texts; an absent field is an empty list."""
        value = self._form.get(key)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
            self.wrong(key, f"expected a list of {what}, for example [a, b].")
            return []
        twice = sorted({item for item in value if value.count(item) > 1})
        if twice:
            self.problems.append(f"{self.path(key)} names {', '.join(map(brief, twice))} more than once.")
        return list(value)

    def entry_point(self, key: str, example: str) -> str | None:
        """`"module:attribute"`, or a function or class that a module defines; null is None."""
        value = self.raw(key)
        if value is None:
            return None
        if callable(value):
            named = _named(value)
            if named is None:
                kind = type(value).__name__
                self.problems.append(f"{self.path(key)} is a {kind}; expected a function or a class, or {example!r}.")
                return None
            value = named
        in_script = isinstance(value, str) and value.startswith("__main__:")
        if isinstance(value, str) and _ENTRY_POINT.fullmatch(value) and not in_script:
            return value
        if in_script:
            advice = (
                "a worker cannot import what a script or a notebook defines: give create_study() the function itself, "
                "or move it into a module."
            )
        else:
            advice = f"expected {example!r}, a module and what to take from it.{_entry_point_hint(value)}"
        self.problems.append(f"{self.path(key)} is {told(value)}; {advice}")
        return None


def shown(key: str) -> str:
    """The name of a field as a sentence can hold it."""
    return key if key.isprintable() and key.isascii() and len(key) <= 60 else brief(key)


def _number_hint(value: object) -> str:
    """How to write a number that arrived as text."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return ""
    number = float(value.replace("_", ""))
    if not math.isfinite(number):
        return ""
    return f" Write it as a number, without quotes: {int(number) if number == int(number) else number!r}."


def _named(target: Callable[..., Any]) -> str | None:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    return f"{module}:{name}" if module and name else None


def _entry_point_hint(value: object) -> str:
    """A guess at what was meant by `pkg/module.py:function` or `pkg.module.function`."""
    if not isinstance(value, str):
        return ""
    guess = re.sub(r"\.py(?=:|$)", "", value.strip().removeprefix("./")).replace("/", ".").replace("\\", ".")
    if ":" not in guess and "." in guess and not value.endswith(".py"):
        guess = ":".join(guess.rsplit(".", 1))
    return f" Did you mean {guess!r}?" if _ENTRY_POINT.fullmatch(guess) else ""
