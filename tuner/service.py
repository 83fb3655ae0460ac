"""The daemon: the same loop as an embedded run, for every study of the database, until it is told to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from db import schema
from db.engine import connect
from db.errors import DatabaseUnavailable
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.metrics import Metrics
from tuner.promoting import registry
from tuner.running import Interrupted, Interruption, interruptible, open_launcher
from workers.contract import LauncherError, LauncherUnavailable

PAUSE_SECONDS = 2.0  # before the database or the cluster is tried again
WAIT_SECONDS = 0.5  # how long the loop waits for a worker's answer before it looks at the rows again

T = TypeVar("T")

log = logging.getLogger("tuner.service")


def serve(settings: Settings) -> None:
    """Coordinate until SIGINT or SIGTERM; running trials are then queued again for the next coordinator.

    A database or a cluster that cannot be reached at the start is waited for.

    Raises:
        DatabaseError: the schema is not this version's.
        LauncherError: the cluster answers and refuses this process.
        TunerError: metrics cannot be served where they were asked for.
    """
    try:
        with interruptible() as interruption:
            settings.home.mkdir(parents=True, exist_ok=True)
            database = connect(settings.database)
            _once_there(lambda: schema.prepare(database), interruption)
            with ExitStack() as opened:
                entered = opened.enter_context
                launcher = _once_there(lambda: entered(open_launcher(settings, "ockham-coordinator")), interruption)
                coordinator = Coordinator(database, launcher, settings)
                log.info("Coordinator %s serves %s on %s.", coordinator.owner, database.url, settings.launcher)
                metrics = Metrics(database)
                _once_there(lambda: registry.announce(database), interruption)
                try:
                    with metrics.served(settings.metrics):
                        _loop(coordinator, metrics, interruption)
                finally:
                    coordinator.close("The coordinator was asked to end.")
    except Interrupted:
        log.info("Asked to end: running trials are queued again, studies are free for the next coordinator.")


def _loop(coordinator: Coordinator, metrics: Metrics, interruption: Interruption) -> None:
    while True:
        interruption.check()
        try:
            with metrics.step():
                busy = coordinator.step()
            if not busy:
                coordinator.wait(WAIT_SECONDS)
        except (DatabaseUnavailable, LauncherError) as error:
            log.warning("%s Trying again in %g s; nothing is lost.", error, PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)


def _once_there(reach: Callable[[], T], interruption: Interruption) -> T:
    """What `reach` returns when what it needs is there; why it is waited for is said once per reason."""
    said = ""
    while True:
        interruption.check()
        try:
            return reach()
        except (DatabaseUnavailable, LauncherUnavailable) as error:
            if str(error) != said:
                said = str(error)
                log.warning("%s Trying again every %g s.", said, PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
