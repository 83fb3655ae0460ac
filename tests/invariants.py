"""What must hold in the database after every fault: `check_invariants`, and between two looks at it: `Snapshot`.

The numbers are those of docs/reliability.md. I6 is held by `check_versions`, I7 by `check_nothing_is_left`.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from db import artifacts, clock, configurations, reports, states, studies, trials
from db.engine import Database, Session
from db.tables import Artifact, Attempt, Base, Decision, Event, ModelVersion, Report, Study, Trial
from tests import promotions
from tuner.coordination.outcomes import RETRIES, Failure
from tuner.definitions.definition import StudyDefinition
from workers.artifacts import ArtifactStore
from workers.contract import CAUSES

OVER = states.terminal(states.TRIAL)
ORPHAN_SECONDS = 10.0
CLOCKS_SECONDS = 1.0  # by which the database's clock and a coordinator's may differ


def check_invariants(
    database: Database, name: str, artifact_root: str | Path, undisturbed: Sequence[Any] | None = None
) -> None:
    """Assert I1 to I5, I8 to I11 of a study that is not being run by anyone right now.

    Args:
        undisturbed: what `results` gave for the same study without a fault; None: not compared (I9).
    """
    with database.read() as s:
        study = studies.find(s, name)
        assert study is not None, f"study {name} is gone"
        definition = StudyDefinition.from_json(study.definition)
        rows = trials.all(s, study.id)
        _no_trial_lost(study, rows, definition)
        spans = []
        for trial in rows:
            attempts = trials.attempts(s, trial.id)
            spans += [(attempt.started_at, attempt.ended_at) for attempt in attempts]
            _attempts_are_in_order(trial, attempts)
            _no_metric_lost(s, trial, definition)
            _told_why(trial, attempts)
        _best_is_the_optimum(s, study.id, rows, definition)
        _budgets_hold(spans, definition, definition.together(study.checked))
        _time_is_counted_once(study, clock.read(s))
        store = ArtifactStore(artifact_root)
        for artifact in artifacts.of_study(s, study.id):
            store.verify(artifact.key, artifact.sha256)
    if undisturbed is not None:
        found = results(database, name)
        other = [pair for pair in zip(found, undisturbed, strict=False) if pair[0] != pair[1]]
        assert found == undisturbed, f"I9: not the results of an undisturbed run, {len(found)} trials, other: {other}"


def results(database: Database, name: str) -> list[Any]:
    """What came of a study's trials: what must not depend on faults."""
    with database.read() as s:
        study = studies.find(s, name)
        assert study is not None
        return [[trial.params, trial.seed, trial.state, trial.value] for trial in trials.all(s, study.id)]


def _no_trial_lost(study: Study, rows: Sequence[Trial], definition: StudyDefinition) -> None:
    assert [trial.number for trial in rows] == list(range(len(rows))), "I1: a trial's number is missing or twice"
    assert len(rows) <= definition.trials, "I10: more trials than asked for"
    for trial in rows:
        assert trial.state in (*OVER, "queued"), f"I1: trial {trial.number} is {trial.state} without a coordinator"
    if study.state in states.terminal(states.STUDY):
        assert all(trial.state in OVER for trial in rows), "I1: a finished study has unfinished trials"
        assert study.owner is None and study.reason, "I11: a study ended without saying why"


def _attempts_are_in_order(trial: Trial, attempts: Sequence[Attempt]) -> None:
    name = f"trial {trial.number}"
    assert [attempt.token for attempt in attempts] == list(range(1, trial.token + 1)), f"I2: {name} lacks an attempt"
    assert all(attempt.ended_at is not None for attempt in attempts), f"I1: an attempt at {name} is nobody's and open"
    for earlier, later in pairwise(attempts):
        assert earlier.cause is not None, f"I11: {name} was begun again, and nothing says why"
        assert earlier.ended_at is not None and earlier.ended_at <= later.started_at, f"I2: {name} ran twice at once"
    kinds = [Failure(attempt.cause or "", attempt.process_end).kind for attempt in attempts]
    for kind, allowed in RETRIES.items():
        assert kinds.count(kind) <= allowed + 1, f"I10: {name} was lost {kinds.count(kind)} times by {kind}"


def _no_metric_lost(s: Session, trial: Trial, definition: StudyDefinition) -> None:
    curve = reports.curve(s, trial.id)
    epochs = [report.epoch for report in curve]
    assert epochs == list(range(1, len(epochs) + 1)), f"I3: trial {trial.number} lost a report: {epochs}"
    assert len(epochs) <= definition.epochs, f"I10: trial {trial.number} trained too long"
    if trial.state == "complete":
        assert trial.value is not None and math.isfinite(trial.value), f"I5: trial {trial.number} has no finite value"
        best = next(report for report in curve if report.epoch == trial.best_epoch)
        assert best.metrics[definition.objective] == trial.value, "I2: the value is not the reported one, bit by bit"


def _told_why(trial: Trial, attempts: Sequence[Attempt]) -> None:
    causes = {attempt.cause for attempt in attempts} - {None}
    assert causes <= set(CAUSES), f"I11: trial {trial.number} has an unknown cause among {causes}"
    if trial.state == "failed":
        assert trial.cause in CAUSES and trial.message, f"I11: trial {trial.number} failed, and nothing says why"


def _best_is_the_optimum(s: Session, study_id: int, rows: Sequence[Trial], definition: StudyDefinition) -> None:
    finite = [trial.value for trial in rows if trial.state == "complete" and trial.value is not None]
    best = trials.best(s, study_id, definition.direction)
    optimum = min(finite, default=None) if definition.direction == "minimize" else max(finite, default=None)
    assert (best[0].value if best else None) == optimum, "I5: the best trial is not the optimum"
    winner = configurations.best(s, study_id, definition.direction, definition.repeats)
    if winner and any(row.kind == "model" for row in artifacts.of_study(s, study_id)):
        assert artifacts.model(s, winner[0].id) is not None, "I5: the best trial's model is gone"


def _budgets_hold(spans: Iterable[tuple[Any, Any]], definition: StudyDefinition, together: int) -> None:
    """No more attempts at once than workers times trials per worker."""
    if definition.workers is None:
        return
    ends = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    running = most = 0
    for _, change in ends:
        running += change
        most = max(most, running)
    assert most <= definition.workers * together, f"I10: {most} trials ran at once"


def _time_is_counted_once(study: Study, now: datetime) -> None:
    """However many coordinators had it, their time adds up to no more than there was."""
    lived = ((study.finished_at or now) - study.created_at).total_seconds()
    assert study.active_seconds <= lived + CLOCKS_SECONDS, f"I10: {study.active_seconds} s were counted in {lived} s"
    if study.term:
        assert study.active_seconds > 0, "I10: no time was counted"


# --- between two looks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """What a database said at one moment. Later ones may say more, never less and nothing else (I3, I4, I8)."""

    studies: dict[int, tuple[str, int, float]]  # state, term, and seconds that it was worked on
    reopened: Counter[int | None]  # by study: how often a person let it go on after its end
    trials: dict[int, tuple[str, int, Any]]  # state, token, and what came of it
    reports: dict[tuple[int, int, int], str]  # by trial, token and epoch
    decisions: dict[tuple[int, int, int], str]
    artifacts: dict[str, tuple[int, int]]  # trial and token by key
    checkpoints: Counter[int]  # by trial
    versions: dict[int, tuple[int, str]]  # number and state

    @classmethod
    def of(cls, database: Database) -> Snapshot:
        """Look at the whole database, in one transaction."""
        with database.read() as s:
            return cls(
                {row.id: (row.state, row.term, row.active_seconds) for row in s.scalars(select(Study))},
                Counter(s.scalars(select(Event.study_id).where(Event.kind == "study_reopened"))),
                {
                    row.id: (row.state, row.token, [row.params, row.seed, row.value, row.best_epoch, row.finished_at])
                    for row in s.scalars(select(Trial))
                },
                {(row.trial_id, row.token, row.epoch): repr(row.metrics) for row in s.scalars(select(Report))},
                {(row.trial_id, row.token, row.epoch): row.action for row in s.scalars(select(Decision))},
                {row.key: (row.trial_id, row.token) for row in s.scalars(select(Artifact))},
                Counter(s.scalars(select(Artifact.trial_id).where(Artifact.kind == "checkpoint"))),
                {row.id: (row.number, row.state) for row in s.scalars(select(ModelVersion))},
            )

    def leads_to(self, later: Snapshot) -> None:
        """Assert that what this one says can have become what `later` says."""
        for study, (state, term, seconds) in self.studies.items():
            new_state, new_term, new_seconds = later.studies[study]
            again = later.reopened[study] > self.reopened[study]
            assert again or _reachable(states.STUDY, state, new_state), f"I8: a study left {state}"
            assert new_term >= term, "I8: a study's term went back"
            assert new_seconds >= seconds, "I8: a study's time went back"
        for trial, (state, token, found) in self.trials.items():
            new_state, new_token, new_found = later.trials[trial]
            assert _reachable(states.TRIAL, state, new_state), f"I8: a trial went from {state} to {new_state}"
            assert new_token >= token, "I8: a trial's token went back"
            assert new_found[:2] == found[:2], "I2: a trial's parameters changed"
            assert state not in OVER or (new_state, new_token, new_found) == (state, token, found), "I8: an end changed"
        for kind in ("reports", "decisions"):
            before, after = getattr(self, kind), getattr(later, kind)
            assert before.items() <= after.items(), f"I3: {kind} were lost or changed"
            self._nothing_stale(kind, (key[:2] for key in after.keys() - before.keys()))
        saved = later.artifacts.keys() - self.artifacts.keys()
        self._nothing_stale("artifacts", (later.artifacts[key] for key in saved))
        for trial, count in later.checkpoints.items():
            most = 0 if later.trials[trial][0] in OVER else 1
            assert count <= most, f"I10: {count} checkpoints of a trial that is {later.trials[trial][0]}"
        for version, (number, state) in self.versions.items():
            new_number, new_state = later.versions[version]
            assert new_number == number and _reachable(states.VERSION, state, new_state), "I8: a version changed"
        highest = max((number for number, _ in self.versions.values()), default=0)
        new = [later.versions[version][0] for version in later.versions.keys() - self.versions.keys()]
        assert all(number > highest for number in new), "I6: a version's number did not grow"

    def _nothing_stale(self, kind: str, written: Iterable[tuple[int, int]]) -> None:
        for trial, token in written:
            known = self.trials.get(trial)
            assert known is None or token >= known[1], f"I4: {kind} of the stale token {token} were written"
            assert known is None or known[0] not in OVER, f"I4: {kind} were written after the trial's end"


def _reachable(table: states.Table, source: str, target: str) -> bool:
    seen, new = {source}, [source]
    while new:
        following = {state for known in new for state in table[known]} - seen
        seen |= following
        new = list(following)
    return target in seen


# --- outside of the database ----------------------------------------------------------------------------------------


def check_versions(folder: Path) -> list[int]:
    """Assert that every integer name in a model's folder is a complete version (I6); returns the numbers."""
    found = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.exists() else []
    problems = {path.name: promotions.fake_verify(str(path)) for path in found}
    assert not any(problems.values()), f"I6: a server would see a torn version: {problems}"
    return sorted(int(path.name) for path in found)


def check_nothing_is_left(home: Path) -> None:
    """Assert that no process of a `TUNER_HOME` is left, at the latest after ten seconds (I7)."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while left := list(_processes_of(home)):
        assert time.monotonic() < deadline, f"I7: left behind: {left}"
        time.sleep(0.05)


def _processes_of(home: Path) -> Iterable[str]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mine = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if mine and process.environ().get("TUNER_HOME") == str(home):
                yield f"{process.pid} {' '.join(process.cmdline())}"


def check_no_secret(database: Database, logs: Iterable[str], secret: str) -> None:
    """Assert that a secret is in no log and in no row of any table (I12)."""
    assert not any(secret in log for log in logs), "I12: a secret is in a log"
    with database.read() as s:
        for table in Base.metadata.sorted_tables:
            assert secret not in repr(s.execute(select(table)).all()), f"I12: a secret is in a row of {table.name}"
