"""Named points at which a fault can be injected from outside, to prove what survives it.

`FAILPOINT=name[:n]=kill|raise|sleep:SECONDS|commit_then_error` makes the n-th visit (default: the first) of that
point end the process with SIGKILL, raise `InjectedFault`, sleep, or lose an acknowledgement: the next transaction
is committed, and its caller is told that the database is gone. Unset, a point costs one look-up of a variable.
Nothing else in the code knows about tests.

It lives in this room because the loss of an acknowledgement happens here, and whoever writes may import the room.
Workers need no points: what they say is fenced by tokens, and a trial's own code can end or freeze them anywhere.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter

from db.errors import DatabaseUnavailable

COMMITTED = "committed"  # the point behind every commit

log = logging.getLogger("db.failpoints")
_visits: Counter[str] = Counter()
_unacknowledged: list[str] = []  # points that wait for the next commit to lose its acknowledgement


class InjectedFault(Exception):
    """Raised by a point that was set to `raise`."""


def failpoint(name: str) -> None:
    """Mark a transition that faults are injected at. Does nothing unless FAILPOINT names it."""
    setting = os.environ.get("FAILPOINT")
    if not setting:
        return
    if name == COMMITTED and _unacknowledged:
        raise DatabaseUnavailable(f"The connection was cut during a commit, as failpoint {_unacknowledged.pop()} asks.")
    point, _, action = setting.partition("=")
    point, _, visit = point.partition(":")
    if point != name:
        return
    _visits[name] += 1
    if _visits[name] == int(visit or 1):
        log.warning("Failpoint %s: %s", name, action)
        _act(name, action)


def _act(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise InjectedFault(f"failpoint {name}")
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
    elif action == "commit_then_error":
        _unacknowledged.append(name)
