"""Training loops for the contract of launchers, as a user would write them. Workers import this file by its folder."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from typing import Any


def exact(run: Any) -> None:
    """Ten epochs of numbers that a careless transport would change."""
    odd = [0.1, 1 / 3, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 2**53 + 1.0]
    for epoch in range(run.epoch, run.epochs):
        sys.stdout.write(f'{{"call": 1, "value": "not an answer, epoch {epoch}"}}\n')
        run.report({"score": float(epoch), "odd": odd[epoch % len(odd)]})


def counting(run: Any) -> None:
    """`seconds` per epoch; the state is the list of epochs that were trained."""
    trained = list(run.state or [])
    for epoch in range(run.epoch, run.epochs):
        time.sleep(run.params.get("seconds", 0.0))
        trained.append(epoch)
        run.report({"score": float(len(trained))}, state=trained)


def raising(run: Any) -> None:
    run.report({"score": 1.0})
    raise RuntimeError(f"no luck with {run.params['luck']}")


def exiting(run: Any) -> None:
    run.report({"score": 1.0})
    time.sleep(0.1)
    sys.stderr.write("about to leave\n")
    os._exit(0)


def killed(run: Any) -> None:
    run.report({"score": 1.0})
    os.kill(os.getpid(), signal.SIGKILL)


def endless(run: Any) -> None:
    run.report({"score": 1.0})
    while True:
        time.sleep(0.01)


def frozen(run: Any) -> None:
    """Stops its whole process, as a swapped-out machine or a lock inside a library does."""
    run.report({"score": 1.0})
    os.kill(os.getpid(), signal.SIGSTOP)


def waiting(run: Any) -> None:
    """Waits for something that never comes, as a lock inside a library does; its worker answers."""
    run.report({"score": 1.0})
    threading.Event().wait()


def loading(run: Any) -> None:
    """Waits for its data before it trains, and uses no processor."""
    time.sleep(run.params["seconds"])
    run.report({"score": 1.0})


def computing(run: Any) -> None:
    """An epoch that says nothing for long, and computes."""
    run.report({"score": 1.0})
    end = time.monotonic() + run.params["seconds"]
    while time.monotonic() < end:
        pass
    run.report({"score": 2.0})
