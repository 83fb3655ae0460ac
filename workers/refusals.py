"""What a user's code raises in a dry run, as sentences: the study is refused, or a point of its space left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from search_spaces import InvalidSpace
from workers.data import DataError
from workers.entry_points import EntryPointError
from workers.failures import is_left_out, sentence_of
from workers.trials.models import ModelError

SENTENCE_CHARACTERS = 700
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Refused(Exception):
    """The rehearsal cannot go on. One sentence."""


class LeftOut(Exception):
    """The user's code wants no trial at this point. One sentence."""


@contextmanager
def mistakes(what: str, params: Mapping[str, Any] | None = None, more: str = "") -> Iterator[None]:
    """Turn whatever user code raises into `Refused` or `LeftOut`.

    Args:
        what: what the code was to do, the sentence's beginning.
        params: the point at which it was to do so, where there was one; it may be left out.
        more: sentences that go behind it, with a blank in front.
    """
    try:
        yield
    except (Refused, LeftOut):
        raise
    except (EntryPointError, DataError, ModelError, InvalidSpace) as error:
        raise Refused(str(error)) from error  # sentences already
    except (Exception, SystemExit) as error:
        reason = " ".join(_COLOURS.sub("", sentence_of(error)).split())[:SENTENCE_CHARACTERS].rstrip(".")
        if params is not None and is_left_out(error):
            raise LeftOut(f"{reason}.") from error
        place = f" with {_told(params)}" if params else ""
        raise Refused(f"{what}{place}: {reason}.{more}") from error


def _told(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items()) or "no parameters"
