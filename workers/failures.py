"""Why a trial did not complete: from whatever its code raised to a cause, a sentence and a bounded log."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

from workers.contract import Cause

MESSAGE_CHARACTERS = 2_000
LOG_BYTES = 64 * 1024
_LINE_CHARACTERS = 4_000
_ASIDES = re.compile(  # TensorFlow's stack of where a graph was made, before the sentence, and its node behind it
    r"Graph execution error:\n+(?:(?:Detected at node|  File|<stack traces).*\n+)+"
    r"|\s*\[\[\{\{node .*?\}\}\]\]|\s*\[Op:\w+\]"
    r"|\s*Arguments received by .*(?:\n+ +• .*)*"  # Keras' list of all that a layer was called with
)


class NonFinite(Exception):
    """A loss or the objective became NaN or infinite."""


class CannotStack(Exception):
    """Trials cannot be trained as one program and are trained one by one. Its text says why, for people to read."""


class StorageFailed(Exception):
    """An artifact could not be written, or code not be read: disk full, no permission, mount gone."""


def is_left_out(error: BaseException) -> bool:
    """Whether a user's code leaves a point of the space out, on purpose: it raised KerasTuner's `FailedTrialError`."""
    return _is_a(error, "FailedTrialError")


def cause_of(error: BaseException) -> Cause:
    """The cause class of an error that left a trial's code."""
    if isinstance(error, NonFinite):
        return "non_finite"
    if isinstance(error, StorageFailed):
        return "storage"
    if is_left_out(error):
        return "infeasible"
    if isinstance(error, MemoryError) or _is_a(error, "ResourceExhaustedError"):
        return "oom"
    return "user_error"


def sentence_of(error: BaseException) -> str:
    """One bounded sentence: the error's kind and what it says, and where in the user's code it arose."""
    if isinstance(error, NonFinite | StorageFailed):
        return _text(error)
    if isinstance(error, SystemExit):
        return f"The code called sys.exit({error.code!r}){_place(error)}."
    text = _text(error)
    kind = "The code leaves this point out" if is_left_out(error) else type(error).__name__
    return f"{kind}{_place(error)}: {text}" if text else f"{kind}{_place(error)}."


def log_of(error: BaseException) -> str:
    """The traceback, newest frames kept, at most 64 KiB; no line is longer than 4000 characters.

    A point that the code leaves out has none: nothing is to be mended.
    """
    if is_left_out(error):
        return ""
    try:
        lines = list(traceback.TracebackException.from_exception(error).format())
    except Exception as failure:  # an error whose own __str__ fails must not take the worker with it
        lines = [*traceback.format_tb(error.__traceback__), f"{type(error).__name__} (its text: {failure!r})\n"]
    text = "".join(line if len(line) <= _LINE_CHARACTERS else line[:_LINE_CHARACTERS] + "…\n" for line in lines)
    return text.encode("utf-8", "replace")[-LOG_BYTES:].decode("utf-8", "ignore")


def _is_a(error: BaseException, kind: str) -> bool:
    """Whether the error is of this kind of TensorFlow's or KerasTuner's, by its name: neither is imported for it."""
    return kind in {base.__name__ for base in type(error).__mro__}


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # user code again
        text = "(its text cannot be read)"
    text = _ASIDES.sub("", text)
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"


def _place(error: BaseException) -> str:
    """` (file.py, line 12)` of the innermost frame that is neither a library's nor ours."""
    foreign = (str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), "<")
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not frame.filename.startswith(foreign) and "__autograph_generated" not in frame.filename:
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""
