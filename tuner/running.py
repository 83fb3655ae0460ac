"""Running studies in the user's own process: a launcher, a coordinator, and the loop that calls it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from db import schema
from db.engine import Database, connect
from tuner import submission
from tuner.active_study import ActiveStudy
from tuner.configuration import Settings
from tuner.coordinator import Coordinator
from tuner.definition import StudyDefinition
from tuner.errors import StudyBusy
from tuner.results import study_row
from workers.contract import Launcher
from workers.launchers import launcher as make_launcher

WAIT_SECONDS = 0.5  # how long the loop waits for a worker's answer before it looks at the rows again
OVER = ("finished", "stopped", "failed")

Watch = Callable[[ActiveStudy | None], None]


class Interrupted(KeyboardInterrupt):
    """The run was ended by a signal; what was running is queued again. `exit_code` is 130 or 143."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__("The run was interrupted; its running trials are queued again.")


def open_database(settings: Settings) -> Database:
    """The database of these settings, its schema made where there is none. Raises DatabaseError."""
    settings.home.mkdir(parents=True, exist_ok=True)
    database = connect(settings.database)
    schema.prepare(database)
    return database


@contextmanager
def open_launcher(settings: Settings, name: str, **options: Any) -> Iterator[Launcher]:
    """A launcher of the kind that the settings name; everything it started is gone afterwards."""
    if settings.launcher == "ray":
        options = {"address": settings.ray_address, "workers": settings.workers, "job_name": name, **options}
    if settings.launcher == "processes":
        options = {"workers": settings.workers or os.cpu_count() or 1, **options}
    launcher = make_launcher(settings.launcher, **options)
    try:
        yield launcher
    finally:
        launcher.close()


def run(database: Database, definition: StudyDefinition, settings: Settings, watch: Watch = lambda study: None) -> None:
    """Submit a study where it does not exist yet, and run it to its end in this process.

    `watch` is called after every step with the study as the coordinator holds it, and once with None before.

    Raises:
        InvalidStudy, StudyExists: see `submission.submit`.
        StudyBusy: another coordinator is running the study.
        Interrupted: SIGINT or SIGTERM arrived; running it again resumes it.
    """
    existing = submission.find(database, definition)
    if existing is not None and existing.state in OVER:
        return
    with open_launcher(settings, definition.name) as launcher, interruptible():
        watch(None)
        row, _ = submission.submit(database, definition, launcher.check, settings)
        if row.state not in OVER:
            _loop(Coordinator(database, launcher, settings, only=definition.name), database, definition.name, watch)


def _loop(coordinator: Coordinator, database: Database, name: str, watch: Watch) -> None:
    try:
        busy = coordinator.step()
        if not coordinator.studies and study_row(database, name).state not in OVER:
            raise StudyBusy(
                f"Study {name!r} is being run by another coordinator ({study_row(database, name).owner}). "
                f"Watch it: tuner study show {name}"
            )
        while coordinator.studies:
            watch(next(iter(coordinator.studies.values())))
            if not busy:
                coordinator.wait(WAIT_SECONDS)
            busy = coordinator.step()
    finally:
        coordinator.close("The run was interrupted.")


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Interrupted`; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def end(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
