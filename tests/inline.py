"""Studies of loops that are run to their end in this process, over real databases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from db import trials
from db.engine import Database
from db.tables import Trial
from tests.invariants import check_invariants
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import parse
from tuner.reporting.results import StudySummary, study_row, summary
from tuner.submission import submit
from workers.contract import CheckReport
from workers.launchers import launcher


def finished(
    database: Database, url: str, home: Path, form: Mapping[str, Any], restart_every: int | None = None
) -> tuple[StudySummary, list[Trial]]:
    """Run a study to its end; with `restart_every`, by another coordinator after each so many steps."""
    settings = Settings.load({}, home=home, database=url, import_paths=str(Path.cwd()))
    submit(parse(form), lambda _: CheckReport(), settings)
    workers = launcher("inline")
    coordinator, steps = Coordinator(database, workers, settings), 0
    while study_row(database, form["name"]).state == "active":
        if not coordinator.step():
            coordinator.wait(0.05)
        steps += 1
        if restart_every and steps % restart_every == 0:
            coordinator.close()
            coordinator = Coordinator(database, workers, settings)
    workers.close()
    check_invariants(database, form["name"], str(settings.artifacts))
    with database.read() as s:
        return summary(database, form["name"]), trials.all(s, study_row(database, form["name"]).id)
