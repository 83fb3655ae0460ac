"""Trials and their attempts. Every change of a trial's state is one guarded statement: its row count tells.

`lease` begins an attempt and gives it a token. Everything said later in the attempt's name carries that token, and
changes nothing once the trial has a newer one or is not running.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from db import clock, states
from db.tables import Attempt, Trial, finite, table
from db.types import clean, tail

_AT_ONCE = 500  # attempts in one heartbeat statement; SQLite allows 32766 bound values
_RUNNING = "running"

# --- writing --------------------------------------------------------------------------------------------------------


def create(
    s: Session, study_id: int, *, number: int, params: dict[str, Any], seed: int, notes: dict[str, Any]
) -> Trial:
    """A new queued trial. Its number must be free in the study."""
    values = {"study_id": study_id, "number": number, "params": params, "seed": seed, "notes": notes}
    return s.scalars(insert(Trial).values(values).returning(Trial)).one()


def lease(s: Session, trial_id: int, worker: str, seconds: float, resumed_from: int | None = None) -> int | None:
    """Begin an attempt at a queued trial. Returns its token, or None: the trial is not queued.

    Args:
        worker: who runs it, for people to read.
        seconds: until the lease ends unless a heartbeat comes.
        resumed_from: epoch of the checkpoint that the attempt begins with.
    """
    began = {"token": Trial.token + 1, "started_at": func.coalesce(Trial.started_at, clock.now())}
    queued = Trial.state.in_(states.sources(states.TRIAL, _RUNNING))
    statement = update(table(Trial)).where(Trial.id == trial_id, queued).values(state=_RUNNING, **began)
    token = s.scalars(statement.returning(Trial.token)).one_or_none()
    if token is None:
        return None
    attempt = {"trial_id": trial_id, "token": token, "worker": worker, "resumed_from": resumed_from}
    s.execute(insert(table(Attempt)).values(lease_until=clock.later(seconds), **attempt))
    return token


def heartbeat(s: Session, attempts: Sequence[tuple[int, int]], seconds: float) -> set[int]:
    """Renew the leases of `(trial_id, token)` pairs. Returns the trials whose token is still the current one."""
    alive: set[int] = set()
    for start in range(0, len(attempts), _AT_ONCE):
        pairs = attempts[start : start + _AT_ONCE]
        current = select(Trial.id, Trial.token).where(Trial.id.in_([trial_id for trial_id, _ in pairs]), _running())
        mine = tuple_(Attempt.trial_id, Attempt.token)
        # Locked in one order and before the update, so that it sees what a requeue in another transaction did.
        locked = s.execute(current.order_by(Trial.id).with_for_update(key_share=True)).all()
        fenced = sorted(set(locked) & set(pairs))
        beat = {"lease_until": clock.later(seconds), "heartbeat_at": clock.now()}
        s.execute(update(table(Attempt)).where(mine.in_(fenced)).values(beat))
        alive.update(trial_id for trial_id, _ in fenced)
    return alive


def end(
    s: Session,
    trial_id: int,
    token: int,
    state: str,
    *,
    value: float | None = None,
    best_epoch: int | None = None,
    epochs: int | None = None,
    cause: str | None = None,
    message: str = "",
    log: str = "",
) -> bool:
    """End a running trial and its attempt. False: the token is stale, and nothing was changed.

    Args:
        state: "complete", "pruned", "failed" or "cancelled".
        epochs: trained in all; None: as the reports said.
        log: its last 64 KiB are kept, with the attempt.
    """
    states.require_terminal(states.TRIAL, state)
    states.require(states.TRIAL, _RUNNING, state)
    result = {"value": value, "best_epoch": best_epoch, "cause": cause, "message": clean(message)}
    trained = {} if epochs is None else {"epochs": epochs}
    if not _leave(s, trial_id, token, state, finished_at=clock.now(), **result, **trained):
        return False
    _end_attempt(s, trial_id, token, cause, message, log)
    return True


def requeue(s: Session, trial_id: int, token: int, *, cause: str, message: str, log: str) -> bool:
    """End a running trial's attempt and queue the trial again. False: the token is stale, and nothing was changed."""
    states.require(states.TRIAL, _RUNNING, "queued")
    if not _leave(s, trial_id, token, "queued"):
        return False
    _end_attempt(s, trial_id, token, cause, message, log)
    return True


def cancel_queued(s: Session, study_id: int) -> int:
    """Cancel the study's queued trials. Returns how many there were."""
    queued = and_(Trial.study_id == study_id, Trial.state == "queued")
    states.require(states.TRIAL, "queued", "cancelled")
    statement = update(table(Trial)).where(queued).values(state="cancelled", cause="cancelled", finished_at=clock.now())
    return len(s.scalars(statement.returning(Trial.id)).all())


def fenced(s: Session, trial_id: int, token: int) -> bool:
    """Whether the attempt is its trial's current one and running; if so it stays that until the transaction ends."""
    statement = select(Trial.id).where(Trial.id == trial_id, Trial.token == token, _running())
    return s.scalars(statement.with_for_update(key_share=True)).one_or_none() is not None


# --- reading --------------------------------------------------------------------------------------------------------


def get(s: Session, study_id: int, number: int) -> Trial | None:
    """The trial of this number in the study."""
    return s.scalars(_of(study_id).where(Trial.number == number)).one_or_none()


def get_by_id(s: Session, trial_id: int) -> Trial:
    """The trial with this id; there must be one."""
    return s.scalars(select(Trial).where(Trial.id == trial_id)).one()


def next_number(s: Session, study_id: int) -> int:
    """One more than the greatest number in the study; 0 in an empty one."""
    return s.scalars(select(func.coalesce(func.max(Trial.number) + 1, 0)).where(Trial.study_id == study_id)).one()


def queued(s: Session, study_id: int, limit: int | None) -> list[Trial]:
    """Queued trials by number, at most `limit`."""
    return list(s.scalars(_of(study_id).where(Trial.state == "queued").limit(limit)))


def running(s: Session, study_id: int) -> list[Trial]:
    """Running trials by number."""
    return list(s.scalars(_of(study_id).where(_running())))


def expired(s: Session, study_id: int) -> list[Trial]:
    """Running trials whose attempt's lease has ended, by number."""
    late = and_(Attempt.trial_id == Trial.id, Attempt.token == Trial.token, Attempt.lease_until <= clock.now())
    return list(s.scalars(_of(study_id).join(Attempt, late).where(_running())))


def all(s: Session, study_id: int) -> list[Trial]:  # noqa: A001
    """Every trial by number."""
    return list(s.scalars(_of(study_id)))


def best(s: Session, study_id: int, direction: str, limit: int = 1) -> list[Trial]:
    """Completed trials with a finite value, the best first; the lower number first where two are equal.

    Args:
        direction: "minimize" or "maximize".
    """
    order = Trial.value.desc() if direction == "maximize" else Trial.value.asc()
    good = select(Trial).where(Trial.study_id == study_id, Trial.state == "complete", finite(Trial.value))
    return list(s.scalars(good.order_by(order, Trial.number).limit(limit)))


def failures(s: Session, study_id: int) -> int:
    """How many trials failed."""
    return s.scalars(select(func.count()).where(Trial.study_id == study_id, Trial.state == "failed")).one()


def attempts(s: Session, trial_id: int) -> list[Attempt]:
    """The trial's attempts, oldest first."""
    return list(s.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.token)))


def active_seconds(s: Session, study_id: int) -> float:
    """Seconds during which at least one attempt of the study ran: the union of the attempts' intervals."""
    until = func.coalesce(Attempt.ended_at, Attempt.heartbeat_at)
    intervals = select(Attempt.started_at, until).join(Trial, Trial.id == Attempt.trial_id)
    total, covered = 0.0, None
    for start, stop in s.execute(intervals.where(Trial.study_id == study_id).order_by(Attempt.started_at)):
        total += _beyond(start, stop, covered)
        covered = stop if covered is None else max(covered, stop)
    return total


def _of(study_id: int) -> Select[Trial]:
    return select(Trial).where(Trial.study_id == study_id).order_by(Trial.number)


def _running() -> ColumnElement[bool]:
    return Trial.state == _RUNNING


def _leave(s: Session, trial_id: int, token: int, state: str, **values: Any) -> bool:
    mine = and_(Trial.id == trial_id, Trial.token == token, _running())
    statement = update(table(Trial)).where(mine).values(state=state, **values)
    return s.scalars(statement.returning(Trial.id)).one_or_none() is not None


def _end_attempt(s: Session, trial_id: int, token: int, cause: str | None, message: str, log: str) -> None:
    mine = and_(Attempt.trial_id == trial_id, Attempt.token == token)
    end = {"ended_at": clock.now(), "cause": cause, "message": clean(message), "log": tail(log)}
    s.execute(update(table(Attempt)).where(mine).values(end))


def _beyond(start: datetime, stop: datetime, covered: datetime | None) -> float:
    begin = start if covered is None else max(start, covered)
    return max(0.0, (stop - begin).total_seconds())
