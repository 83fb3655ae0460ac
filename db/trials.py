"""Trials and their attempts. Every change of a trial's state is one guarded statement: its row count tells.

`lease` begins an attempt and gives it a token. Everything said later in the attempt's name carries that token, and
changes nothing once the trial has a newer one or is not running.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Row, Select, and_, bindparam, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from db import clock, states
from db.tables import Attempt, Trial, table
from db.types import clean, finite, tail

_AT_ONCE = 500  # attempts in one statement; SQLite allows 32766 bound values
_RUNNING = "running"


@dataclass(frozen=True)
class New:
    """A trial that has no row yet."""

    number: int
    params: dict[str, Any]
    seed: int
    notes: dict[str, Any]  # what the sampler wants to remember


@dataclass(frozen=True)
class End:
    """How a running attempt ends, and its trial with it."""

    trial_id: int
    token: int
    state: str  # "complete", "pruned", "failed" or "cancelled"
    value: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None  # trained in all; None: as the reports said
    weights: int | None = None  # of its model
    cause: str | None = None
    message: str = ""
    log: str = ""  # its last 64 KiB are kept, with the attempt
    process_end: str | None = None  # how the worker's process ended, where it did: "with exit code 3"


# --- writing --------------------------------------------------------------------------------------------------------


def create(s: Session, study_id: int, new: Sequence[New]) -> dict[int, int]:
    """New queued trials. Their numbers must be free in the study. Returns ids by number."""
    statement = insert(table(Trial)).returning(Trial.number, Trial.id)
    return dict(s.execute(statement, [{"study_id": study_id, **vars(item)} for item in new]).all()) if new else {}


def lease(s: Session, begun: Mapping[int, int | None], worker: str, seconds: float) -> dict[int, int]:
    """Begin an attempt at each of these queued trials. Returns tokens by id, without those that are not queued.

    Args:
        begun: per trial id, the epoch of the checkpoint that the attempt begins with; None: it begins at 0.
        worker: who runs them, for people to read: the coordinator, until a worker has said that it does.
        seconds: until the leases end unless a heartbeat comes.
    """
    began = {"token": Trial.token + 1, "started_at": func.coalesce(Trial.started_at, clock.now())}
    queued = Trial.state.in_(states.sources(states.TRIAL, _RUNNING))
    statement = update(table(Trial)).where(Trial.id.in_(begun), queued).values(state=_RUNNING, **began)
    tokens: dict[int, int] = dict(s.execute(statement.returning(Trial.id, Trial.token)).all())
    attempts = [
        {"trial_id": trial_id, "token": token, "worker": worker, "resumed_from": begun[trial_id]}
        for trial_id, token in tokens.items()
    ]
    if attempts:
        s.execute(insert(table(Attempt)).values(lease_until=clock.later(seconds)), attempts)
    return tokens


def heartbeat(s: Session, attempts: Collection[tuple[int, int]], seconds: float) -> set[int]:
    """Renew the leases of `(trial_id, token)` pairs. Returns the trials whose token is still the current one."""
    current = sorted(fenced(s, attempts))
    mine = tuple_(Attempt.trial_id, Attempt.token)
    beat = {"lease_until": clock.later(seconds), "heartbeat_at": clock.now()}
    for start in range(0, len(current), _AT_ONCE):
        s.execute(update(table(Attempt)).where(mine.in_(current[start : start + _AT_ONCE])).values(beat))
    return {trial_id for trial_id, _ in current}


def end(s: Session, ends: Sequence[End]) -> int:
    """End running attempts and their trials. Returns how many; where the token is stale, nothing is changed."""
    for item in ends:
        states.require_terminal(states.TRIAL, item.state)
        states.require(states.TRIAL, _RUNNING, item.state)
    if not ends:
        return 0
    done = cast(CursorResult[Any], s.execute(_END, [_result(item) for item in ends]))
    s.execute(_END_ATTEMPT, [_last_words(item) for item in ends])
    return done.rowcount


def requeue(s: Session, end: End, after: float = 0.0) -> bool:
    """End a running trial's attempt and queue the trial again. False: the token is stale, and nothing was changed.

    Args:
        end: why the attempt is over; its state is "queued".
        after: seconds before which the trial is not to be started again.
    """
    states.require(states.TRIAL, _RUNNING, end.state)
    mine = and_(Trial.id == end.trial_id, Trial.token == end.token, _running())
    again = {"state": end.state, "retry_at": clock.later(after) if after else None}
    statement = update(table(Trial)).where(mine).values(again)
    if s.scalars(statement.returning(Trial.id)).one_or_none() is None:
        return False
    s.execute(_END_ATTEMPT, [_last_words(end)])
    return True


def cancel_queued(s: Session, study_id: int, numbers: Collection[int] | None = None) -> int:
    """Cancel the study's queued trials: those of these numbers, or all. Returns how many there were."""
    queued = and_(Trial.study_id == study_id, Trial.state == "queued")
    some = queued if numbers is None else and_(queued, Trial.number.in_(numbers))
    states.require(states.TRIAL, "queued", "cancelled")
    statement = update(table(Trial)).where(some).values(state="cancelled", cause="cancelled", finished_at=clock.now())
    return len(s.scalars(statement.returning(Trial.id)).all())


def request_cancel(s: Session, study_id: int, number: int) -> bool:
    """Ask the study's coordinator to end a trial. False where it has ended already."""
    allowed = Trial.state.in_(states.sources(states.TRIAL, "cancelled"))
    mine = and_(Trial.study_id == study_id, Trial.number == number, allowed)
    statement = update(table(Trial)).where(mine).values(cancel_at=func.coalesce(Trial.cancel_at, clock.now()))
    return s.scalars(statement.returning(Trial.id)).one_or_none() is not None


def fenced(s: Session, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the `(trial_id, token)` pairs that are their trial's current and running attempt.

    They stay that until the transaction ends: their rows are locked, in one order.
    """
    current: set[tuple[int, int]] = set()
    ids = sorted({trial_id for trial_id, _ in attempts})
    for start in range(0, len(ids), _AT_ONCE):
        some = Trial.id.in_(ids[start : start + _AT_ONCE])
        rows = select(Trial.id, Trial.token).where(some, _running()).order_by(Trial.id)
        current.update((row.id, row.token) for row in s.execute(rows.with_for_update(key_share=True)))
    return current & set(attempts)


# --- reading --------------------------------------------------------------------------------------------------------


def get(s: Session, study_id: int, number: int) -> Trial | None:
    """The trial of this number in the study."""
    return s.scalars(_of(study_id).where(Trial.number == number)).one_or_none()


def numbered(s: Session, study_id: int, numbers: Collection[int]) -> list[Trial]:
    """The study's trials of these numbers, by number; those that have no row are left out."""
    return list(s.scalars(_of(study_id).where(Trial.number.in_(numbers)))) if numbers else []


def queued(s: Session, study_id: int, limit: int | None) -> list[Trial]:
    """Queued trials by number, at most `limit`."""
    return list(s.scalars(_of(study_id).where(Trial.state == "queued").limit(limit)))


def running(s: Session, study_id: int) -> list[Trial]:
    """Running trials by number."""
    return list(s.scalars(_of(study_id).where(_running())))


def to_cancel(s: Session, study_id: int) -> set[int]:
    """Numbers of the trials that a person wants to end and that have not ended yet."""
    wanted = and_(Trial.state.in_(states.live(states.TRIAL)), Trial.cancel_at.is_not(None))
    return set(s.scalars(select(Trial.number).where(Trial.study_id == study_id, wanted)))


def delayed(s: Session, study_id: int) -> dict[int, float]:
    """Seconds for which queued trials still wait before they are tried again, by number; others are absent."""
    now = clock.read(s)
    late = and_(Trial.study_id == study_id, Trial.state == "queued", Trial.retry_at > now)
    rows = s.execute(select(Trial.number, Trial.retry_at).where(late))
    return {number: (retry_at - now).total_seconds() for number, retry_at in rows if retry_at is not None}


def expired(s: Session, study_id: int) -> list[Trial]:
    """Running trials whose attempt's lease has ended, by number."""
    late = and_(Attempt.trial_id == Trial.id, Attempt.token == Trial.token, Attempt.lease_until <= clock.now())
    return list(s.scalars(_of(study_id).join(Attempt, late).where(_running())))


def all(s: Session, study_id: int) -> list[Trial]:  # noqa: A001
    """Every trial by number."""
    return list(s.scalars(_of(study_id)))


def points(
    s: Session, study_id: int
) -> Iterable[Row[int, dict[str, Any], dict[str, Any], str, float | None, str | None]]:
    """Number, parameters, notes, state, value and cause of every trial: a fifth of the work that objects are.

    They come in the order in which they ended, those that have not ended last, and else by number.
    """
    columns = select(Trial.number, Trial.params, Trial.notes, Trial.state, Trial.value, Trial.cause)
    order = Trial.finished_at.is_(None), Trial.finished_at, Trial.number
    return s.execute(columns.where(Trial.study_id == study_id).order_by(*order))


def best(
    s: Session, study_id: int, direction: str, limit: int | None = 1, among: Select[int] | None = None
) -> list[Trial]:
    """Completed trials with a finite value, the best first; the lower number first where two are equal.

    Args:
        direction: "minimize" or "maximize".
        limit: most trials; None: all.
        among: asks for the ids of those that are looked at; None: all.
    """
    order = Trial.value.desc() if direction == "maximize" else Trial.value.asc()
    good = select(Trial).where(Trial.study_id == study_id, Trial.state == "complete", finite(Trial.value))
    some = good if among is None else good.where(Trial.id.in_(among))
    return list(s.scalars(some.order_by(order, Trial.number).limit(limit)))


def attempts(s: Session, trial_id: int) -> list[Attempt]:
    """The trial's attempts, oldest first."""
    return list(s.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.token)))


def causes(s: Session, study_id: int) -> dict[int, list[tuple[str, str | None]]]:
    """Why attempts at trials that have not ended did end early, by trial number, oldest first.

    Each is `(cause, process_end)`. Trials without any are absent.
    """
    found: dict[int, list[tuple[str, str | None]]] = {}
    columns = select(Trial.number, Attempt.cause, Attempt.process_end).join(Trial, Trial.id == Attempt.trial_id)
    live = and_(Trial.study_id == study_id, Trial.state.in_(states.live(states.TRIAL)))
    ordered = columns.where(live, Attempt.cause.is_not(None)).order_by(Attempt.trial_id, Attempt.token)
    for number, cause, process_end in s.execute(ordered):
        found.setdefault(number, []).append((str(cause), process_end))
    return found


def _of(study_id: int) -> Select[Trial]:
    return select(Trial).where(Trial.study_id == study_id).order_by(Trial.number)


def _running() -> ColumnElement[bool]:
    return Trial.state == _RUNNING


# Built once: with a batch of values they are one round trip, however many attempts end.
_END = (
    update(table(Trial))
    .where(Trial.id == bindparam("the_trial"), Trial.token == bindparam("the_token"), _running())
    .values(
        {name: bindparam(f"new_{name}") for name in ("state", "value", "best_epoch", "weights", "cause", "message")}
    )
    .values(epochs=func.coalesce(bindparam("new_epochs"), Trial.epochs), finished_at=clock.now())
)
_END_ATTEMPT = (  # an attempt is open exactly as long as its trial runs with its token
    update(table(Attempt))
    .where(Attempt.trial_id == bindparam("the_trial"), Attempt.token == bindparam("the_token"))
    .where(Attempt.ended_at.is_(None))
    .values({name: bindparam(f"new_{name}") for name in ("cause", "message", "log", "process_end")})
    .values(ended_at=clock.now())
)


def _result(end: End) -> dict[str, Any]:
    kept = {name: getattr(end, name) for name in ("state", "value", "best_epoch", "epochs", "weights", "cause")}
    return _named(end, **kept, message=clean(end.message))


def _last_words(end: End) -> dict[str, Any]:
    return _named(end, cause=end.cause, message=clean(end.message), log=tail(end.log), process_end=end.process_end)


def _named(end: End, **values: Any) -> dict[str, Any]:
    return {
        "the_trial": end.trial_id,
        "the_token": end.token,
        **{f"new_{name}": value for name, value in values.items()},
    }
