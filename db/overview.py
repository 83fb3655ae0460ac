"""What a service is doing now, over all studies that have not ended: for `tuner top` and for metrics.

Every statement finds its rows through an index of live studies and their states, so trials of studies that are over
cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db import clock, configurations, states, studies
from db.tables import Attempt, Study, Trial


@dataclass(frozen=True)
class LiveStudy:
    """A study that has not ended."""

    name: str
    state: str
    coordinator: str | None  # who runs it; None: nobody now
    objective: str
    planned: int  # trials in all
    counts: dict[str, int]  # trials per state; states without a trial are absent
    failures: dict[str, int]  # failed trials per cause
    best: tuple[int, float] | None  # number and value of its best completed trial
    priority: int
    weight: float
    waits: str | None  # why none of its trials runs although some could


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker trains."""

    study: str
    number: int
    attempt: int  # 1, 2, … in its trial
    epoch: int  # the latest that was reported
    seconds: float  # since the attempt began
    silent: float  # seconds since its coordinator last renewed its lease


@dataclass(frozen=True)
class FailedTrial:
    """A trial that failed, and why."""

    study: str
    number: int
    cause: str | None
    message: str
    finished_at: datetime | None


def live_studies(s: Session) -> list[LiveStudy]:
    """Studies that have not ended, oldest first: a few statements for each of them."""
    rows: Sequence[Study] = s.scalars(select(Study).where(_live()).order_by(Study.id)).all()
    free = {row.id for row in studies.runnable(s)}
    return [_described(s, row, None if row.id in free else row.owner) for row in rows]


def running_trials(s: Session) -> list[RunningTrial]:
    """Trials that are being trained, by study and number."""
    seconds, silent = (clock.seconds_between(past, clock.now()) for past in (Attempt.started_at, Attempt.heartbeat_at))
    statement = (
        select(Study.name, Trial.number, Attempt.token, Trial.epochs, seconds, silent)
        .join(Trial, Trial.study_id == Study.id)
        .join(Attempt, (Attempt.trial_id == Trial.id) & (Attempt.token == Trial.token))
        .where(_live(), Trial.state == "running")
        .order_by(Study.id, Trial.number)
    )
    return [RunningTrial(*row) for row in s.execute(statement).all()]


def latest_failures(s: Session, limit: int) -> list[FailedTrial]:
    """The trials of live studies that failed last, the latest first."""
    statement = (
        select(Study.name, Trial.number, Trial.cause, Trial.message, Trial.finished_at)
        .join(Trial, Trial.study_id == Study.id)
        .where(_live(), Trial.state == "failed")
        .order_by(Trial.finished_at.desc(), Trial.id.desc())
        .limit(limit)
    )
    return [FailedTrial(*row) for row in s.execute(statement).all()]


def _described(s: Session, row: Study, coordinator: str | None) -> LiveStudy:
    totals = studies.totals(s, row.id)
    direction, repeats = row.definition["direction"], row.definition.get("repeats", 1)
    best = configurations.best(s, row.id, direction, repeats)
    value = configurations.mean_of(s, best[0], repeats) if best else None
    return LiveStudy(
        name=row.name,
        state=row.state,
        coordinator=coordinator,
        objective=row.definition["objective"],
        planned=row.definition["trials"],
        counts=totals.counts,
        failures=totals.failures,
        best=(best[0].number, value) if value is not None else None,
        priority=row.definition.get("priority", 0),
        weight=row.definition.get("weight", 1.0),
        waits=row.waits if row.state == "active" else None,
    )


def _live() -> ColumnElement[bool]:
    return Study.state.in_(states.live(states.STUDY))
