"""Named points at which a fault can be injected from outside, to prove what survives it.

`FAILPOINT=name[:n]=kill|raise|sleep:SECONDS` makes the n-th visit (default: the first) of that point end the
process with SIGKILL, raise `InjectedFault`, or sleep. Unset, a point costs one dictionary look-up. Nothing
else in the code knows about tests.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

_visits: Counter[str] = Counter()


class InjectedFault(Exception):
    """Raised by a point that was set to `raise`."""


def failpoint(name: str) -> None:
    """Mark a transition that faults are injected at. Does nothing unless FAILPOINT names it."""
    setting = os.environ.get("FAILPOINT")
    if not setting:
        return
    point, _, action = setting.partition("=")
    point, _, visit = point.partition(":")
    if point != name:
        return
    _visits[name] += 1
    if _visits[name] == int(visit or 1):
        _act(name, action)


def _act(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise InjectedFault(f"failpoint {name}")
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
