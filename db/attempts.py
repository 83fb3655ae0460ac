"""How attempts are trained, and by whom: what their workers say as soon as they know. And when they ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, and_, bindparam, func, select, update
from sqlalchemy.orm import Session

from db import clock
from db.tables import Attempt, Report, Trial, table
from db.types import clean


@dataclass(frozen=True)
class Trained:
    """How a worker trains a trial."""

    trial_id: int
    token: int
    how: str  # e.g. "in a cohort of 16 (program: mlp, depth 3)"
    worker: str  # its name


@dataclass(frozen=True)
class Span:
    """When an attempt ran."""

    number: int  # of its trial
    token: int
    worker: str  # who ran it, as far as that was said; until then the coordinator
    started: datetime
    ended: datetime  # of one that runs: now. Never later than its lease: nobody knew of it any longer
    state: str  # its trial's; "interrupted" where that was to go on in another attempt


_SAY = (  # an attempt is open exactly as long as its trial runs with its token
    update(table(Attempt))
    .where(Attempt.trial_id == bindparam("the_trial"), Attempt.token == bindparam("the_token"))
    .where(Attempt.ended_at.is_(None))
    .values(trained=bindparam("how"), worker=bindparam("by"))
)


def say_trained(s: Session, said: Sequence[Trained]) -> int:
    """Note how running attempts are trained, and by whom. Returns how many; where one is over, nothing is changed."""
    if not said:
        return 0
    values = [
        {"the_trial": item.trial_id, "the_token": item.token, "how": clean(item.how), "by": clean(item.worker)}
        for item in said
    ]
    return cast(CursorResult[Any], s.execute(_SAY, values)).rowcount


def trained(s: Session, study_id: int, number: int | None = None) -> dict[int, str]:
    """How the latest attempt at each trial is trained, by trial number; absent where its worker has not said so.

    Args:
        number: of the only trial that is asked for; None: all.
    """
    latest = and_(Attempt.trial_id == Trial.id, Attempt.token == Trial.token, Attempt.trained.is_not(None))
    rows = select(Trial.number, Attempt.trained).join(Attempt, latest).where(Trial.study_id == study_id)
    some = rows if number is None else rows.where(Trial.number == number)
    return {trial: str(how) for trial, how in s.execute(some)}


def reached(s: Session, study_id: int) -> dict[int, int]:
    """The epoch that each running attempt reported last, by its trial's id; else the one that it began with."""
    own = and_(Report.trial_id == Trial.id, Report.token == Trial.token)
    epoch = func.coalesce(func.max(Report.epoch), Attempt.resumed_from, 0)
    current = and_(Attempt.trial_id == Trial.id, Attempt.token == Trial.token)
    joined = select(Trial.id, epoch).join(Attempt, current).outerjoin(Report, own)
    running = and_(Trial.study_id == study_id, Trial.state == "running")
    return dict(s.execute(joined.where(running).group_by(Trial.id, Attempt.resumed_from)).all())


def spans(s: Session, study_id: int) -> list[Span]:
    """When every attempt of a study ran, by their start."""
    now = clock.read(s)
    columns = select(
        Trial.number,
        Attempt.token,
        Attempt.worker,
        Attempt.started_at,
        func.coalesce(Attempt.ended_at, now),
        Attempt.lease_until,
        Trial.token == Attempt.token,
        Trial.state,
    )
    joined = columns.join(Trial, Trial.id == Attempt.trial_id).where(Trial.study_id == study_id)
    rows = s.execute(joined.order_by(Attempt.started_at, Trial.number))
    return [
        Span(
            number,
            token,
            worker,
            started,
            max(started, min(ended, lease)),
            state if last and state != "queued" else "interrupted",
        )
        for number, token, worker, started, ended, lease, last, state in rows
    ]
