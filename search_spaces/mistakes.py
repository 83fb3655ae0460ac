"""What is wrong with a search space, as sentences a person can act on.

A mistake has the path of a field and a text. Whoever holds the outer form puts its own name in front of the path, so
that `low` becomes `lr.low` and then `space.lr.low`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, NamedTuple

_EXPONENT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Mistake(NamedTuple):
    """One thing that is wrong. `text` goes on after the path: "is -1; expected ..."."""

    path: str
    text: str

    def under(self, path: str) -> Mistake:
        dot = "." if path and self.path and not self.path.startswith("[") else ""
        return Mistake(f"{path}{dot}{self.path}", self.text)

    def __str__(self) -> str:
        return f"`{self.path}` {self.text}" if self.path else f"The space {self.text}"


class InvalidSpace(ValueError):
    """A search space, a domain or a point of a space has mistakes.

    `problems` lists all of them, one sentence each: the field's path, what was given, what was expected.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        self.problems = tuple(str(mistake) for mistake in self.mistakes)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.mistakes,)

    def under(self, path: str) -> tuple[Mistake, ...]:
        """The mistakes as they read inside the field `path`."""
        return tuple(mistake.under(path) for mistake in self.mistakes)


def check(mistakes: Iterable[Mistake]) -> None:
    """Raises `InvalidSpace` where there is a mistake."""
    found = tuple(mistakes)
    if found:
        raise InvalidSpace(found)


def told(value: object) -> str:
    """What was given, in words."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return f"{str(value).lower()} (YAML reads unquoted yes, no, on and off as true and false)"
    if isinstance(value, str):
        return f"the text {brief(value)}" if value else "an empty text"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"the list {brief(list(value))}"
    return brief(value)


def brief(value: object) -> str:
    """A value as any terminal can show it: ASCII, no control characters, at most 60 characters."""
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"a number of {value.bit_length()} bits"
    try:
        text = ascii(value)
    except ValueError:  # Python refuses to write a number of more than 4,300 digits that is in a list
        return "..."
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def near(given: object, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """` Did you mean ...?` with the closest of `known`; `synonyms` maps words of other tools to ours."""
    words = {str(name).lower(): str(name) for name in known} | dict(synonyms or {})
    word = str(given).lower()
    close = [word] if word in words else get_close_matches(word, list(words), n=2, cutoff=0.6)
    found = list(dict.fromkeys(words[name] for name in close))
    return f" Did you mean {' or '.join(f'`{name}`' for name in found)}?" if found else ""


def listed(names: Iterable[object]) -> str:
    """Names for the end of a sentence, shortened where there are very many."""
    shown = [str(name) for name in names]
    return ", ".join(shown if len(shown) <= 20 else [*shown[:20], f"and {len(shown) - 20} more"])


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def number_hint(value: object) -> str:
    """What to type instead of a text that looks like a number."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return ""
    number = float(value)
    if looks_like_exponent(value) and math.isfinite(number):
        mantissa, exponent = f"{number:e}".split("e")
        return f" YAML reads it as text: write {float(mantissa)!r}e{int(exponent):+d}."
    return " Write it without quotes."


def looks_like_exponent(value: object) -> bool:
    """Whether this text is what YAML 1.1 makes of a number such as 1e-3."""
    return isinstance(value, str) and _EXPONENT.fullmatch(value.strip()) is not None


def finite_mistakes(path: str, value: object, *, whole: bool = False) -> list[Mistake]:
    """The mistake of a value that ought to be a finite number."""
    if whole and isinstance(value, float) and value.is_integer():
        return [Mistake(path, f"is {value!r}; expected a whole number. Write {int(value)}.")]
    if not (is_whole(value) if whole else is_number(value)):
        kind = "whole number" if whole else "number"
        return [Mistake(path, f"is {told(value)}; expected a {kind}.{number_hint(value)}")]
    if not is_finite(value):
        return [Mistake(path, f"is {told(value)}; expected a finite number.")]
    return []


def is_finite(number: Any) -> bool:
    """Whether a number has a finite value as floating point: not NaN, infinite, or a whole number beyond 1e308."""
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False
