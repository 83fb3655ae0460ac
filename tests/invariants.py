"""What must hold in the database after every fault: one function, `check_invariants`."""

from __future__ import annotations

import math

from db import artifacts, reports, studies, trials
from db.engine import Database
from tuner.definition import StudyDefinition
from workers.artifacts import ArtifactStore

OVER = ("complete", "pruned", "failed", "cancelled")


def check_invariants(database: Database, name: str, artifact_root: str) -> None:
    """Assert the invariants of a study that is not being run by anyone right now.

    No trial lost, no number twice, one accepted result per trial from its current token, no report beyond a
    trial's end, the best trial optimal over finite completed ones, artifacts that match their hashes, budgets held.
    """
    with database.read() as s:
        row = studies.find(s, name)
        assert row is not None, f"study {name} is gone"
        definition = StudyDefinition.from_json(row.definition)
        rows = trials.all(s, row.id)
        assert [trial.number for trial in rows] == list(range(len(rows))), "a trial's number is missing or twice"
        assert len(rows) <= definition.trials
        if row.state in ("finished", "stopped", "failed"):
            assert all(trial.state in OVER for trial in rows), "a finished study has unfinished trials"
        for trial in rows:
            attempts = trials.attempts(s, trial.id)
            assert [attempt.token for attempt in attempts] == list(range(1, trial.token + 1))
            assert trial.state in (*OVER, "queued"), f"trial {trial.number} is {trial.state} without a coordinator"
            assert all(attempt.ended_at is not None for attempt in attempts), "an attempt of nobody is still open"
            curve = reports.curve(s, trial.id)
            epochs = [report.epoch for report in curve]
            assert epochs == list(range(1, len(epochs) + 1)), f"trial {trial.number} lost a report: {epochs}"
            assert len(epochs) <= definition.epochs
            if trial.state == "complete":
                assert trial.value is not None and math.isfinite(trial.value)
                value = next(report for report in curve if report.epoch == trial.best_epoch).metrics[
                    definition.objective
                ]
                assert value == trial.value, "the value is not the reported one, bit by bit"
        finite = [trial.value for trial in rows if trial.state == "complete" and trial.value is not None]
        best = trials.best(s, row.id, definition.direction)
        optimum = min(finite, default=None) if definition.direction == "minimize" else max(finite, default=None)
        assert (best[0].value if best else None) == optimum
        store = ArtifactStore(artifact_root)
        for artifact in artifacts.of_study(s, row.id):
            store.verify(artifact.key, artifact.sha256)
