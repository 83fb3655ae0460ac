"""What can go wrong, as a tree. Every message is a sentence: what was given, what was expected, what to type next.

The command line turns `InvalidInput` into exit code 2 and every other `TunerError` into exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TunerError(Exception):
    """Base of everything Ockham raises on purpose."""


class InvalidInput(TunerError, ValueError):
    """Something that was given cannot be used. Raised before any row or process exists."""


class InvalidStudy(InvalidInput):
    """A study's definition has mistakes; `problems` lists all of them, one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownName(InvalidInput, KeyError):
    """No study, trial, model or alias has the given name; the message offers the closest ones."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        near = get_close_matches(given, list(known), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        super().__init__(f"There is no {kind} named {given!r}.{hint}")

    def __str__(self) -> str:
        return str(self.args[0])


class StudyExists(InvalidInput):
    """A study of this name exists with another definition; the message names the differences."""


class StudyBusy(TunerError):
    """Another coordinator is running the study right now."""


class StudyFailed(TunerError):
    """The study ended without a result, for example because too many trials failed."""


class NothingToPromote(InvalidInput):
    """The study has no completed trial with a finite objective, or the chosen trial is not one."""


class PromotionFailed(TunerError):
    """The export or its verification failed; the serving folder is as it was."""
