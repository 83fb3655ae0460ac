"""Coordinators in processes of their own, into which faults are injected: the product's own `run` and `serve`.

They are forked from a server that has imported everything already, so one costs a twentieth of a second instead of
one or two. Their trials are loops without TensorFlow, in real child processes or inline.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from db import studies
from db.engine import Database
from db.errors import DatabaseError
from db.failpoints import InjectedFault
from tests import promotions
from tests.clusters import Cluster
from tuner import running, service, verbs
from tuner.configuration import Settings
from tuner.coordination import coordinator as coordinating
from tuner.databases import open_database
from tuner.definitions.definition import StudyDefinition, parse
from tuner.promoting import promotion
from tuner.submission import submit
from workers.contract import CheckReport, LauncherError
from workers.launchers import launcher

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120.0  # a coordinator that needs longer than this for a study of milliseconds is stuck
LEASE_SECONDS = 40.0  # workers on a cluster wait so long for the next coordinator, on a busy machine
FAULT = 3  # exit code of a run that ended with an error of the database or the launcher, as a user would see it

_PROCESSES = multiprocessing.get_context("forkserver")
_LIBRARIES = ["pytest", "alembic.command", "optuna", "psycopg"]
_OURS = ["tuner.samplers.gaussian_process", "workers.dry_run", "workers.trials.loop", "workers.launchers.processes"]
_PROCESSES.set_forkserver_preload([*_LIBRARIES, *_OURS, "workers.launchers.inline", "tests.coordinators"])


@dataclass(frozen=True)
class Place:
    """Where a study of the tests lives."""

    home: Path
    url: str
    form: dict[str, Any]  # the study
    launcher: str = "processes"
    cluster: Cluster | None = None  # of the launcher "ray"

    @property
    def settings(self) -> Settings:
        address = self.cluster.address if self.cluster else None
        own = {"launcher": self.launcher, "workers": self.form.get("workers", 1), "import_paths": str(ROOT)}
        return Settings.load({}, home=self.home, database=self.url, ray_address=address, **own)

    @property
    def definition(self) -> StudyDefinition:
        return parse(self.form)

    @property
    def name(self) -> str:
        return str(self.form["name"])

    @property
    def log(self) -> str:
        """What its coordinators said so far."""
        file = self.home / "coordinators.log"
        return file.read_text() if file.exists() else ""

    def over(self, database: Database) -> bool:
        """Whether the study was submitted and has ended."""
        with database.read() as s:
            row = studies.find(s, self.name)
        return row is not None and row.state in verbs.OVER


def run(place: Place, failpoint: str = "", **changed: Any) -> int | None:
    """`tuner run` to its end: 0, or -9 when it was killed, or `FAULT`."""
    process = started(place, failpoint, **changed)
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def serve(place: Place, failpoint: str = "", **changed: Any) -> int | None:
    """`tuner serve` until the study is over, which is submitted where it is not there; its exit code."""
    process = started(place, failpoint, serving, **changed)
    with open_database(place.settings) as database:
        wait_for(lambda: not process.is_alive() or place.over(database))
    process.terminate()
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def promote(place: Place, failpoint: str = "") -> int | None:
    """A promotion of the study's best trial, without TensorFlow; its exit code."""
    process = started(place, failpoint, _promote)
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def running_one(place: Place) -> None:
    """`tuner run`."""
    running.run(place.definition, place.settings)


def serving(place: Place) -> None:
    """`tuner serve`, and the submission of its one study."""
    submit(place.definition, lambda _: CheckReport(), place.settings)
    service.serve(place.settings)


def _promote(place: Place) -> None:
    promotions.without_tensorflow()
    promotion.promote(open_database(place.settings), place.settings, place.name, name="model")


def started(
    place: Place, failpoint: str = "", target: Callable[[Place], None] = running_one, **changed: Any
) -> BaseProcess:
    """A coordinator as a process.

    Args:
        failpoint: see db/failpoints.py.
        target: what it does.
        changed: constants of tuner/coordination/coordinator.py for this process, for example `LEASE_SECONDS=1.0`.
    """
    process = _PROCESSES.Process(target=_child, args=(target, place, failpoint, changed), daemon=True)
    process.start()
    return process


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails when that takes longer than any machine needs for it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It never happened within {PATIENCE_SECONDS:g} s.")
        time.sleep(0.02)


def _child(target: Callable[[Place], None], place: Place, failpoint: str, changed: dict[str, Any]) -> None:
    os.environ.update(FAILPOINT=failpoint, TUNER_HOME=str(place.home))
    if place.cluster is not None:
        os.environ.update(place.cluster.variables)
        vars(running)["make_launcher"] = partial(launcher, lease_seconds=LEASE_SECONDS)
    for name, value in changed.items():
        setattr(coordinating, name, value)
    service.PAUSE_SECONDS = 0.05
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside of a run it ends the process, as SIGTERM does
    logging.basicConfig(filename=place.home / "coordinators.log", force=True)
    try:
        target(place)
    except (DatabaseError, LauncherError, InjectedFault) as error:
        logging.getLogger("tests").error("It ended with %s: %s", type(error).__name__, error)
        sys.exit(FAULT)
    except running.Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
