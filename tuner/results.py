"""What a study has found, as frozen values read from rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db import reports, studies, trials
from db.engine import Database
from db.tables import Study, Trial
from tuner.definition import StudyDefinition
from tuner.errors import InvalidInput, UnknownName


@dataclass(frozen=True)
class TrialResult:
    """One trial, as it stands."""

    number: int
    state: str  # queued | running | complete | pruned | failed | cancelled
    params: dict[str, Any]
    value: float | None  # the objective at `best_epoch`; for a pruned trial the best it had
    best_epoch: int | None
    epochs: int  # reported
    seconds: float | None  # from its first start to its end
    attempts: int  # how often it was started
    cause: str | None  # why it failed, one of workers.contract.CAUSES
    message: str
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class StudySummary:
    """What a person wants to know about a study."""

    name: str
    state: str  # active | stopping | stopped | finished | failed
    reason: str  # why it ended; empty while it has not
    objective: str
    direction: str
    counts: dict[str, int]  # trials per state
    planned: int  # trials the study may propose
    best: TrialResult | None
    best_metrics: dict[str, float]  # every metric of the best trial at its best epoch
    epochs: int  # trained in all
    epochs_without_stopping: int  # what the finished trials would have trained without pruning and early stopping
    seconds: float  # during which at least one trial ran
    failures: dict[str, int]  # failed trials by cause
    coordinator: str | None  # who runs it now, `HOST:PID:…`; None: nobody


def study_row(database: Database, name: str) -> Study:
    """The study's row. Raises UnknownName with the closest names."""
    with database.read() as s:
        row = studies.find(s, name)
        if row is None:
            raise UnknownName("study", name, studies.names(s))
        return row


def trial_results(database: Database, name: str) -> list[TrialResult]:
    """Every trial of a study, by number."""
    row = study_row(database, name)
    with database.read() as s:
        epochs = reports.epochs(s, row.id)
        return [_result(trial, epochs.get(trial.number, 0)) for trial in trials.all(s, row.id)]


def trial_result(database: Database, name: str, number: int) -> TrialResult:
    """One trial of a study. Raises UnknownName for the study, InvalidInput for the trial."""
    row = study_row(database, name)
    with database.read() as s:
        trial = trials.get(s, row.id, number)
        if trial is not None:
            return _result(trial, len(reports.curve(s, trial.id)))
        planned = sum(studies.counts(s, row.id).values())
    has = f"it has the trials 0 to {planned - 1}" if planned else "it has no trial yet"
    raise InvalidInput(f"Study {name!r} has no trial {number}; {has}. List them: tuner trial list {name}")


def summary(database: Database, name: str) -> StudySummary:
    """A study at a glance. Raises UnknownName."""
    row = study_row(database, name)
    definition = StudyDefinition.from_json(row.definition)
    best, metrics = _best(database, row, definition)
    with database.read() as s:
        totals = studies.totals(s, row.id)
        seconds = trials.active_seconds(s, row.id)
    over = totals.counts.get("complete", 0) + totals.counts.get("pruned", 0)
    return StudySummary(
        name=name,
        state=row.state,
        reason=row.reason or "",
        objective=definition.objective,
        direction=definition.direction,
        counts=totals.counts,
        planned=definition.trials,
        best=best,
        best_metrics=metrics,
        epochs=totals.epochs,
        epochs_without_stopping=over * definition.epochs,
        seconds=seconds,
        coordinator=_coordinator(database, row),
        failures=totals.failures,
    )


def process_words(owner: str) -> str:
    """A coordinator's owner text, `HOST:PID:…`, in words."""
    host, _, rest = owner.partition(":")
    return f"process {rest.partition(':')[0]} on {host}" if rest else "another coordinator"


def _coordinator(database: Database, row: Study) -> str | None:
    with database.read() as s:
        free = {item.id for item in studies.runnable(s)}
    return None if row.id in free else row.owner


def _best(database: Database, row: Study, definition: StudyDefinition) -> tuple[TrialResult | None, dict[str, float]]:
    with database.read() as s:
        best = trials.best(s, row.id, definition.direction, limit=1)
        if not best:
            return None, {}
        curve = {report.epoch: report.metrics for report in reports.curve(s, best[0].id)}
    result = _result(best[0], len(curve))
    return result, curve.get(result.best_epoch or 0, {})


def _result(trial: Trial, epochs: int) -> TrialResult:
    end, start = trial.finished_at, trial.started_at
    return TrialResult(
        number=trial.number,
        state=trial.state,
        params=trial.params,
        value=trial.value,
        best_epoch=trial.best_epoch,
        epochs=epochs,
        seconds=(end - start).total_seconds() if end and start else None,
        attempts=trial.token,
        cause=trial.cause,
        message=trial.message or "",
        started=start,
        finished=end,
    )
