"""An eye on the head of a cluster that outlives this process.

While the head is away Ray's calls wait, longer than a coordinator's lease; after a minute Ray aborts the process. So a
process that has lost the head ends itself before that, with one line. It ends as by a kill: rows and workers stay as
they are, and the next coordinator goes on with what it finds: the head as it was, or a new cluster.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from workers.launchers.ray_session import last_line, silence

QUESTIONS = 3  # as many without an answer, one after the other, and the head is lost
_ANSWER_SECONDS = 5.0  # a question is answered within this time
_PAUSE_SECONDS = 1.0  # between two questions

log = logging.getLogger("workers.launchers.ray")


class HeadWatch:
    """Asks the head in a thread of its own, until `close`.

    Args:
        client: of the head. It knows its cluster: the head of another one at the same address refuses it.
        address: what people call it.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="head watch", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._over.set()

    def _watch(self) -> None:
        unanswered = 0
        while not self._over.wait(_PAUSE_SECONDS):
            try:
                self._client.check_alive([], timeout=_ANSWER_SECONDS)
                unanswered = 0
            except Exception as error:  # Ray's own errors, and those of what it is made of
                unanswered += 1
                if unanswered >= QUESTIONS and not self._over.is_set():
                    self._end(error)

    def _end(self, error: Exception) -> None:
        host, _, port = self._client.address.rpartition(":")
        cause = silence(host, int(port)) or last_line(error)
        end = "This process ends; the next one goes on with its studies."
        log.critical("The head of the Ray cluster at %s is lost: %s. %s", self._address, cause.rstrip("."), end)
        os._exit(1)  # the main thread may be waiting for Ray, where no exception reaches it
