"""What is said of a dry run whose worker ended before it answered."""

from __future__ import annotations

import re

from workers.contract import Training
from workers.launchers import machine
from workers.launchers.transport import Gone

LINES = 5  # of what the worker said last
_NOTICE = re.compile(r"[IWE]\d{4} \d\d:|[IWE]0000 |WARNING: All log messages before absl")  # TensorFlow's, at its start


def why_incomplete(gone: Gone, training: Training) -> str:
    """Sentences for the user."""
    return f"The dry run did not complete. {gone.message}{_hint(gone, training)}{_last_output(gone.log)}"


def _hint(gone: Gone, training: Training) -> str:
    killed = gone.cause == "oom" or gone.process_end.startswith(("by signal", "unexpectedly"))
    if training.loop or not killed:
        return ""
    there_is = f"{machine.memory() >> 30} GiB on this machine"
    return (
        f" It trains the largest models of the space: if one needs more memory than there is ({there_is}), narrow the "
        "space, or take a smaller batch_size."
    )


def _last_output(log: str) -> str:
    said = [line.strip() for line in log.splitlines() if line.strip() and not _NOTICE.match(line)]
    crash = [line for line in said if line.startswith("Fatal Python error:")]  # what follows is a stack of all threads
    last = crash or said[-LINES:]
    return " Its last output: " + " | ".join(last) if last else ""
