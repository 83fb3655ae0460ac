"""Running studies in the user's own process: a launcher, a coordinator, and the loop that calls it."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from db.engine import Database
from tuner import submission
from tuner.configuration import Settings
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.coordinator import Coordinator
from tuner.databases import open_database
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidStudy, StudyBusy
from tuner.payload.in_memory import NOTHING, InMemory
from tuner.reporting.results import process_words, study_row
from tuner.verbs import OVER, RESUME, ask
from workers.contract import CheckReport, Launcher, Training
from workers.launchers import launcher as make_launcher

WAIT_SECONDS = 0.5  # how long the loop waits for a worker's answer before it looks at the rows again
SIGNALS = (signal.SIGINT, signal.SIGTERM)

Watch = Callable[[ActiveStudy | None], None]


class Interrupted(KeyboardInterrupt):
    """The run was ended by a signal; what was running is queued again. `exit_code` is 130 or 143."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__("The run was interrupted; its running trials are queued again.")


class Interruption:
    """The first SIGINT or SIGTERM, remembered: Python ignores what is raised while it calls a finalizer."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise `Interrupted` if a signal has arrived; a loop asks in every turn."""
        if self.number is not None:
            raise Interrupted(128 + self.number)


@contextmanager
def open_launcher(settings: Settings, name: str, **options: Any) -> Iterator[Launcher]:
    """A launcher of the kind that the settings name; everything it started is gone afterwards."""
    if settings.launcher == "ray":
        options = {"address": settings.ray_address, "workers": settings.workers, "job_name": name, **options}
    if settings.launcher == "processes":
        options = {"workers": settings.workers or os.cpu_count() or 1, **options}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    launcher = make_launcher(settings.launcher, **options)
    _handle(handlers)  # Ray puts a handler of its own in their place
    try:
        yield launcher
    finally:
        launcher.close()


def checked(launcher: Launcher, definition: StudyDefinition) -> submission.Check:
    """The dry run of a study on this launcher; refuses one whose trials can never run there."""

    def check(training: Training) -> CheckReport:
        misfit = launcher.fits(definition.resources())
        if misfit is not None:
            raise InvalidStudy([misfit])
        return launcher.check(training, definition.resources())

    return check


def run(
    definition: StudyDefinition,
    settings: Settings,
    watch: Watch = lambda _: None,
    opened: Callable[[Launcher], None] = lambda _: None,
    memory: InMemory = NOTHING,
) -> None:
    """Submit a study where it does not exist yet, and run it to its end in this process.

    `watch` is called after every step with the study as the coordinator holds it, and once with None before;
    `opened` once with the launcher, when its workers can be had. `memory` is what of the study lies in no file.
    A study that is refused leaves no row, no database and no folder. One that was paused goes on.

    Raises:
        InvalidStudy, StudyExists: see `submission.submit`.
        StudyBusy: another coordinator is running the study.
        Interrupted: SIGINT or SIGTERM arrived; running it again resumes it.
    """
    existing = submission.find(definition, settings)
    if existing is not None and existing.state in OVER:
        return
    with interruptible() as interruption:
        watch(None)
        with open_launcher(settings, definition.name) as launcher:
            opened(launcher)
            elsewhere = getattr(launcher, "shared", False)  # its nodes need not have the user's code
            row, _ = submission.submit(definition, checked(launcher, definition), settings, memory, pack=elsewhere)
            if row.state not in OVER:
                with open_database(settings) as database:
                    if row.state == "paused":
                        ask(database, definition.name, RESUME)
                    coordinator = Coordinator(database, launcher, settings, only=definition.name)
                    _loop(coordinator, database, definition.name, watch, interruption)


def submit(definition: StudyDefinition, settings: Settings, memory: InMemory = NOTHING) -> None:
    """Store a study for a coordinator that serves the same database; an equal one is left as it is.

    The dry run is made in a child process: the coordinator's cluster may be out of reach, as may its artifacts.

    Raises:
        InvalidStudy, StudyExists: see `submission.submit`.
    """
    if submission.find(definition, settings) is None:
        submission.require_node(definition, settings)
    with tempfile.TemporaryDirectory(prefix="ockham-") as folder:
        dry = replace(settings, launcher="processes", workers=1, artifacts=Path(folder))
        with open_launcher(dry, definition.name) as launcher:
            submission.submit(definition, launcher.check, dry, memory, pack=True, data_in=settings.artifacts)


def _loop(coordinator: Coordinator, database: Database, name: str, watch: Watch, interruption: Interruption) -> None:
    try:
        busy = coordinator.step()
        if not coordinator.studies and study_row(database, name).state not in OVER:
            owner = study_row(database, name).owner or ""
            raise StudyBusy(f"Study {name!r} is being run by {process_words(owner)}. Watch it: tuner study wait {name}")
        while coordinator.studies:
            interruption.check()
            watch(next(iter(coordinator.studies.values())))
            if not busy:
                coordinator.wait(WAIT_SECONDS)
            busy = coordinator.step()
    finally:
        coordinator.close("The run was interrupted.")


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into `Interrupted`; a second one ends the process at once."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        _handle(dict.fromkeys(SIGNALS, signal.SIG_DFL))
        interruption.number = number
        interruption.check()

    _handle(dict.fromkeys(SIGNALS, end))
    try:
        yield interruption
    except (Exception, KeyboardInterrupt):  # another one in the place of ours: Ray's own, or of a half-done clean-up
        interruption.check()
        raise
    finally:
        _handle(before)


def _handle(handlers: Mapping[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other thread may
        for number, handler in handlers.items():
            signal.signal(number, handler)
