"""A process that answers one request: a JSON object on stdin, one JSON line on stdout, and all else on stderr."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from workers import collector
from workers.failures import sentence_of


def answer(respond: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> int:
    """Print what `respond` makes of the request, with `"ok": true`; else `{"ok": false, "error": "One sentence."}`.

    What user code prints goes to stderr. Returns the process' exit code: 0, or 1 after an error.
    """
    answer_to = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # predictions are compared with those of another process
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    answer: dict[str, Any]
    with collector.paused():
        import keras  # noqa: F401 - whatever is asked for needs it
    try:
        answer = {"ok": True, **respond(json.load(sys.stdin))}
    except Exception as error:
        traceback.print_exc()
        answer = {"ok": False, "error": _sentence(error)}
    answer_to.write(json.dumps(answer) + "\n")
    answer_to.close()
    return 0 if answer["ok"] else 1


def _sentence(error: Exception) -> str:
    """Our own errors are sentences already; what user code raised gets its kind and its place in front."""
    return str(error) if type(error).__module__.startswith("workers.") else sentence_of(error)
