"""What a study or a model may be called, and the nearest valid thing to a name that was mistyped.

A name becomes a folder, a label in a dashboard and a word on a command line, so it is plain ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches

from search_spaces.mistakes import brief as brief  # taken from here, like its neighbours
from search_spaces.mistakes import is_finite
from tuner.errors import InvalidInput

LONGEST = 128  # characters
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(kind: str, given: object) -> str:
    """`given` itself where it can name a `kind` ("study", "model", "alias").

    Raises:
        InvalidInput: one sentence with what was given, what is allowed, and a name that would do.
    """
    problem = name_problem(kind, given)
    if problem is not None:
        raise InvalidInput(problem)
    return str(given)


def name_problem(kind: str, given: object) -> str | None:
    """The sentence that says why `given` cannot name a `kind`; None where it can."""
    if not isinstance(given, str):
        number = type(given) in (int, float) and is_finite(given) and kind != "model"
        hint = f" Put it in quotes: '{given}'." if number else ""
        return f"The {kind} name is {brief(given)}, but a name is a text.{hint}"
    if not given:
        return f"The {kind} name is empty. Give it one, for example '{kind}-1'."
    if kind == "model" and given.isdecimal():
        return (
            f"The model name {brief(given)} is an integer, and integers are the versions inside a model's folder. "
            f"Give it a word, for example 'model-{_plain(given)}'."
        )
    if len(given) > LONGEST:
        return f"The {kind} name {brief(given)} has {len(given)} characters, and at most {LONGEST} are allowed."
    if _ALLOWED.fullmatch(given) and ".." not in given:
        return None
    return (
        f"The {kind} name {brief(given)} has {_offence(given)}. Allowed are the letters a to z and A to Z, digits, "
        f"'.', '_' and '-', with a letter or a digit first and no '..': for example {_plain(given) or kind + '-1'!r}."
    )


def near(given: str, known: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str:
    """` Did you mean ...?` with the names closest to `given`, or an empty text where none is close.

    `synonyms` maps words of other tools to ours, so that `max_trails` finds `trials` by way of `max_trials`.
    """
    words = {name.lower(): name for name in known} | dict(synonyms or {})
    close = get_close_matches(given.lower(), list(words), n=2, cutoff=0.6)
    if len(close) == 2 and _likeness(given, close[1]) < _likeness(given, close[0]) - 0.1:
        del close[1]
    found = dict.fromkeys(visible(words[word]) for word in close)
    return f" Did you mean {' or '.join(f'`{name}`' for name in found)}?" if found else ""


def visible(text: object) -> str:
    """A path or a file's name as it is, or quoted with escapes where it holds what a terminal must not be sent."""
    name = str(text)
    return name if name.isprintable() else repr(name)


def _likeness(given: str, word: str) -> float:
    return SequenceMatcher(None, given.lower(), word).ratio()


def _offence(given: str) -> str:
    if ".." in given:
        return "'..' in it"
    if not _ALLOWED.match(given) and re.match(r"[._-]", given):
        return f"{given[0]!r} at its start"
    wrong = next(character for character in given if not re.match(r"[A-Za-z0-9._-]", character))
    return f"{_called(wrong)} in it"


def _called(character: str) -> str:
    if character == " ":
        return "a space"
    if character.isascii() and character.isprintable():
        return f"the character '{character}'"
    return f"the character {character!a} ({unicodedata.name(character, 'a control character').lower()})"


def _plain(given: str) -> str:
    """A valid name that resembles `given`, or an empty text."""
    ascii_only = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode()
    return re.sub(r"\.\.+|[^A-Za-z0-9._-]+", "-", ascii_only).strip("._-")[:LONGEST]
