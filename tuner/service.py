"""The daemon: the same loop as an embedded run, for every study of the database, until it is told to end."""

from __future__ import annotations

import logging
import time

from db import schema
from db.engine import Database, connect
from db.errors import DatabaseUnavailable
from tuner.configuration import Settings
from tuner.coordinator import Coordinator
from tuner.metrics import Metrics
from tuner.running import Interrupted, Interruption, interruptible, open_launcher
from workers.contract import LauncherError

PAUSE_SECONDS = 2.0  # before the database is tried again
WAIT_SECONDS = 0.5  # how long the loop waits for a worker's answer before it looks at the rows again

log = logging.getLogger("tuner.service")


def serve(settings: Settings) -> None:
    """Coordinate until SIGINT or SIGTERM; running trials are then queued again for the next coordinator.

    Raises:
        DatabaseError: the schema is not this version's.
        LauncherError: the cluster cannot be reached at the start.
        TunerError: metrics cannot be served where they were asked for.
    """
    with interruptible() as interruption:
        try:
            database = _wait_for_database(settings, interruption)
            with open_launcher(settings, "ockham-coordinator") as launcher:
                coordinator = Coordinator(database, launcher, settings)
                log.info("Coordinator %s serves %s on %s.", coordinator.owner, database.url, settings.launcher)
                metrics = Metrics(database)
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


def _wait_for_database(settings: Settings, interruption: Interruption) -> Database:
    settings.home.mkdir(parents=True, exist_ok=True)
    database = connect(settings.database)
    while True:
        interruption.check()
        try:
            schema.prepare(database)
            return database
        except DatabaseUnavailable as error:
            log.warning("%s Trying again in %g s.", error, PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
