"""A child process of `processes`: `python -m workers.launchers.process_worker NAME PARENT`.

It reads requests from its standard input and writes answers to what was its standard output, one JSON text a
line. Whatever the trial's code prints goes to standard error, so it cannot garble an answer. The process ends
when its input is closed or its parent dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import threading

from workers.collector import settle
from workers.launchers.desk import answer
from workers.worker import Worker

_PR_SET_PDEATHSIG = 1


def main(name: str, parent: int) -> None:
    """Answer requests until there are no more."""
    _die_with(parent)
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=_watch, args=(requests.fileno(),), name="parent-watch", daemon=True).start()
    worker = Worker(name)
    settle()
    for line in requests:
        answers.write(json.dumps(answer(worker, json.loads(line))).encode() + b"\n")
        answers.flush()
    os._exit(0)  # a trial's thread may still be running: there is nobody to hear of it


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, also while it runs code that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch(requests: int) -> None:
    """End this process when the other end of its input is closed, whatever the worker is doing."""
    poll = select.poll()
    poll.register(requests, 0)  # a hang-up is always told
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
