"""Which artifacts a study keeps: the models of its best trials, and what a running trial resumes from."""

from __future__ import annotations

from db import artifacts, trials
from db.engine import Database
from tuner.definition import StudyDefinition
from workers.artifacts import ArtifactStore

CHECKPOINTS_KEPT = 2  # per unfinished trial: the newest, and the one before in case the newest is damaged


def remove_stale_artifacts(database: Database, store: ArtifactStore, study_id: int, definition: StudyDefinition) -> int:
    """Remove the artifacts nobody will ask for again, rows first: bytes without a row are harmless. Returns how many.

    Kept are the models of the best `definition.keep` trials, promoted ones, and the newest checkpoints of
    trials that are not over.
    """
    with database.write() as s:
        best = {trial.id for trial in trials.best(s, study_id, definition.direction, definition.keep)}
        best |= artifacts.promoted_trials(s, study_id)
        rows = artifacts.of_study(s, study_id)
        unfinished = {trial.id for trial in trials.running(s, study_id)} | {
            trial.id for trial in trials.queued(s, study_id, limit=None)
        }
        kept = {row.id for row in rows if row.kind == "model" and row.trial_id in best | unfinished}
        for trial_id in unfinished:
            newest = sorted(
                (row for row in rows if row.kind == "checkpoint" and row.trial_id == trial_id), key=lambda row: row.id
            )
            kept |= {row.id for row in newest[-CHECKPOINTS_KEPT:]}
        stale = [row for row in rows if row.id not in kept]
        for row in stale:
            artifacts.remove(s, row.id)
    for row in stale:
        store.remove(row.key)
    return len(stale)
