"""A database, a launcher and a coordinator to play with; studies whose trials are loops that need no TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from db import trials
from db.engine import Database
from db.tables import Trial
from tests.crowd import Crowd
from tests.invariants import check_invariants
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import parse
from tuner.reporting.results import study_row
from tuner.submission import submit
from tuner.verbs import OVER
from workers.contract import CheckReport, Launcher
from workers.launchers import launcher as make_launcher

X = {"type": "float", "low": 0.0, "high": 1.0}
ENDLESS: dict[str, Any] = {"loop": "until_enough", "epochs": 100_000, "checkpoint_seconds": 1000.0}
"""Trials that train until `Bench.enough`, however slow the machine is, and that only a verb saves before their end."""

PATIENCE_SECONDS = 60.0


class Bench:
    """A database, a launcher and a coordinator to play with."""

    def __init__(self, database: Database, url: str, launcher: Launcher, home: Path) -> None:
        self.database, self.launcher = database, launcher
        self.settings = Settings.load({}, home=home, database=url, import_paths=str(Path.cwd()))
        self.coordinator = Coordinator(database, launcher, self.settings)

    def submit(self, name: str, loop: str = "descent", **changes: Any) -> None:
        form = {
            "name": name,
            "loop": f"tests.loops:{loop}",
            "space": {"x": X},
            "objective": "val_loss",
            "trials": 6,
            "epochs": 4,
        }
        limits = {"sampler": "random", "pruner": "none", "checkpoint_seconds": 0.001}
        submit(parse({**form, **limits, **changes}), lambda _: CheckReport(), self.settings)

    def state(self, name: str) -> str:
        return str(study_row(self.database, name).state)

    def run(self, until: Callable[[], bool]) -> None:
        """Step until something is so; fails when that takes too long."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert time.monotonic() < end, "it never happened"
            if not self.coordinator.step():
                self.coordinator.wait(0.05)

    def enough(self) -> None:
        """Have every `ENDLESS` trial end after its present epoch."""
        (self.settings.home / "enough").touch()

    def finish(self, *names: str) -> None:
        """Run the studies to their ends and check the invariants."""
        self.run(lambda: all(self.state(name) in OVER for name in names))
        for name in names:
            check_invariants(self.database, name, str(self.settings.artifacts))

    def trials(self, name: str) -> list[Trial]:
        with self.database.read() as s:
            return trials.all(s, study_row(self.database, name).id)


@pytest.fixture
def make_bench(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Bench]]:
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))  # where loops look whether it is enough
    with ExitStack() as stack:

        def make(kind: str = "processes", **options: Any) -> Bench:
            if kind == "processes":
                options = {"workers": 2, **options}
            launcher = Crowd(**options) if kind == "crowd" else make_launcher(kind, **options)
            stack.callback(launcher.close)
            return Bench(database, database_url, launcher, tmp_path)

        yield make
