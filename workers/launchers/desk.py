"""The far end of a transport: one request in, one answer out, both JSON. The worker behind it knows no transport.

A request is `{"call": 7, "method": "advance", "arguments": [...]}`. Its answer is `{"call": 7, "value": ...}` or,
where the worker itself failed, `{"call": 7, "failed": sentence, "cause": cause, "log": traceback}`. Both kinds hold
`pid` and `rss`; a slice without a report holds `effort`. User code that raises is no failure of the worker: it comes
back inside the value.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from workers.contract import Assignment, Resources, Training
from workers.failures import log_of, sentence_of
from workers.vitals import effort, rss_bytes
from workers.worker import Worker, WorkerStuck


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked and say what came of it. Never raises an `Exception`."""
    reply = {"call": request["call"], "pid": os.getpid()}
    try:
        reply["value"] = _METHODS[request["method"]](worker, *request["arguments"])
    except Exception as error:  # whatever it is, the launcher has to hear of it and end this worker
        cause = "hang" if isinstance(error, WorkerStuck) else "node_lost"
        reply.update(failed=sentence_of(error), cause=cause, log=log_of(error))
    reply["rss"] = rss_bytes()
    if not (reply.get("value") or {}).get("reports", True):
        reply["effort"] = effort()
    return reply


def _begin(worker: Worker, assignment: dict[str, Any], *asked: Any) -> Any:
    worker.start(Assignment.from_json(assignment))
    return _advance(worker, *asked)


def _advance(worker: Worker, until: int, seconds: float, drop: list[int], save: bool, acknowledged: int) -> Any:
    return worker.advance(until, seconds, drop, save, acknowledged).to_json()


def _stop(worker: Worker) -> None:
    worker.stop()


def _repeat(worker: Worker) -> None:
    worker.repeat()


def _holds(worker: Worker) -> Any:
    return worker.assignment.to_json() if worker.assignment is not None else None


def _check(worker: Worker, training: dict[str, Any], resources: dict[str, Any]) -> Any:
    return worker.check(Training.from_json(training), Resources(**resources)).to_json()


_METHODS: dict[str, Callable[..., Any]] = {
    "begin": _begin,
    "advance": _advance,
    "stop": _stop,
    "repeat": _repeat,
    "holds": _holds,
    "check": _check,
}
