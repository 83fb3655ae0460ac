"""What can be wrong with a study's data."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DataError(ValueError):
    """The data of a study cannot be used. One sentence: what was given, what was expected, what to do."""


def nearest(given: str, known: Iterable[str]) -> str:
    """A sentence with the names closest to `given`, or all of a few, or nothing; starts with a blank."""
    names = sorted(known)
    near = get_close_matches(given, names, n=3, cutoff=0.4)
    if near:
        return f" Did you mean {' or '.join(repr(name) for name in near)}?"
    return f" Choose from {', '.join(names[:12])}{'...' if len(names) > 12 else ''}." if names else ""
