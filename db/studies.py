"""Studies, and the lease of the coordinator that runs one.

A coordinator claims a study and gets a *term*, a number that grows with each claim. It starts each of its
transactions with `renew`: that locks the study's row, and says False to one whose study was taken over, so nothing a
stale coordinator writes is ever committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from db import clock, configurations, dialects, states
from db.errors import AlreadyExists
from db.tables import Study, Trial, table
from db.types import clean, finite


@dataclass(frozen=True)
class StudyEntry:
    """A study in the list of studies."""

    name: str
    state: str
    counts: dict[str, int]  # trials per state; states without a trial are absent
    best_value: float | None  # of its completed trials or, with repeats, the best mean of a configuration
    created_at: datetime
    weight: float  # its share of the workers, beside those of the others
    priority: int  # studies of a higher one come first
    waits: str | None  # why none of its trials runs although some could


@dataclass(frozen=True)
class Totals:
    """What the trials of a study come to."""

    counts: dict[str, int]  # trials per state; states without a trial are absent
    epochs: int  # that were reported
    failures: dict[str, int]  # failed trials per cause


def create(
    s: Session,
    *,
    name: str,
    definition: dict[str, Any],
    body_hash: str,
    search_space_id: int,
    checked: dict[str, Any],
    code: str | None = None,
) -> Study:
    """A new active study. Raises AlreadyExists when the name is taken, also by a transaction a moment earlier."""
    values = {"name": name, "definition": definition, "body_hash": body_hash, "checked": checked, "code": code}
    statement = dialects.insert(s, table(Study)).values(search_space_id=search_space_id, **values)
    id = s.scalars(statement.on_conflict_do_nothing(index_elements=["name"]).returning(Study.id)).one_or_none()  # noqa: A001
    if id is None:
        raise AlreadyExists("study", name)
    return get(s, id)


def find(s: Session, name: str, lock: bool = False) -> Study | None:
    """The study of this name. `lock`: no other transaction changes its row before this one ends."""
    row = select(Study).where(Study.name == name)
    return s.scalars(row.with_for_update() if lock else row).one_or_none()


def get(s: Session, id: int) -> Study:  # noqa: A002
    """The study with this id; there must be one."""
    return s.scalars(select(Study).where(Study.id == id)).one()


def names(s: Session) -> list[str]:
    """Names of all studies, oldest first."""
    return list(s.scalars(select(Study.name).order_by(Study.id)))


def definitions(s: Session) -> list[dict[str, Any]]:
    """The definitions of all studies."""
    return list(s.scalars(select(Study.definition)))


def listing(s: Session) -> list[StudyEntry]:
    """All studies, oldest first: two statements, however many trials there are, and two per study with repeats."""
    counts: dict[int, dict[str, int]] = {}
    extremes: dict[int, tuple[float | None, float | None]] = {}
    good = and_(Trial.state == "complete", finite(Trial.value))
    columns = (func.count(), func.min(Trial.value).filter(good), func.max(Trial.value).filter(good))
    for study_id, state, count, *values in s.execute(
        select(Trial.study_id, Trial.state, *columns).group_by(Trial.study_id, Trial.state)
    ):
        counts.setdefault(study_id, {})[state] = count
        if state == "complete":
            extremes[study_id] = (values[0], values[1])
    rows = s.scalars(select(Study).order_by(Study.id)).all()
    return [_entry(s, row, counts.get(row.id, {}), *extremes.get(row.id, (None, None))) for row in rows]


def counts(s: Session, study_id: int) -> dict[str, int]:
    """Trials per state; states without a trial are absent."""
    grouped = select(Trial.state, func.count()).where(Trial.study_id == study_id).group_by(Trial.state)
    return dict(s.execute(grouped).all())


def totals(s: Session, study_id: int) -> Totals:
    """What the study's trials come to: two statements, however many they are. Only failed trials' rows are read."""
    mine = Trial.study_id == study_id
    by_state = select(Trial.state, func.count(), func.sum(Trial.epochs)).where(mine).group_by(Trial.state)
    rows = s.execute(by_state).all()
    by_cause = select(Trial.cause, func.count()).where(mine, Trial.state == "failed").group_by(Trial.cause)
    failures = {str(cause): count for cause, count in s.execute(by_cause)}
    return Totals({state: count for state, count, _ in rows}, sum(epochs for *_, epochs in rows), failures)


def runnable(s: Session) -> list[Study]:
    """Studies that want a coordinator: not ended, and without a living lease. Oldest first."""
    live = Study.state.in_(states.live(states.STUDY))
    return list(s.scalars(select(Study).where(live, _free()).order_by(Study.id)))


def waiting(s: Session) -> set[int]:
    """Ids of the studies that want a coordinator, as `runnable` has them."""
    live = Study.state.in_(states.live(states.STUDY))
    return set(s.scalars(select(Study.id).where(live, _free())))


def leased(s: Session) -> list[Study]:
    """Studies that have not ended and that a coordinator holds. Oldest first."""
    live = Study.state.in_(states.live(states.STUDY))
    return list(s.scalars(select(Study).where(live, Study.owner.is_not(None)).order_by(Study.id)))


def claim(s: Session, study_id: int, owner: str, seconds: float) -> int | None:
    """Take the study for `seconds`. Returns the new term, or None: ended, or another owner's lease lives.

    An owner may claim its own study again; that too begins a new term.
    """
    live = Study.state.in_(states.live(states.STUDY))
    statement = update(table(Study)).where(Study.id == study_id, live, or_(_free(), Study.owner == owner))
    lease = {"owner": owner, "lease_until": clock.later(seconds), "term": Study.term + 1}
    return s.scalars(statement.values(lease).returning(Study.term)).one_or_none()


def renew(s: Session, study_id: int, owner: str, term: int, seconds: float, active_seconds: float) -> bool:
    """Hold the study for `seconds` from now. False: the study ended or has another term; write nothing more.

    `active_seconds`: for how long it was worked on so far. Kept with every renewal, so that a crash loses little of it.
    """
    held = {"lease_until": clock.later(seconds), "active_seconds": active_seconds}
    statement = update(table(Study)).where(*_held(study_id, owner, term)).values(held)
    return s.scalars(statement.returning(Study.id)).one_or_none() is not None


def release(s: Session, study_id: int, owner: str, term: int) -> bool:
    """Give the study back, so that another coordinator need not wait. A stale term changes nothing."""
    statement = update(table(Study)).where(*_held(study_id, owner, term)).values(_NOBODY)
    return s.scalars(statement.returning(Study.id)).one_or_none() is not None


def request(s: Session, study_id: int, state: str) -> bool:
    """Ask the study's coordinator for "paused", "active", "stopping" or "cancelling".

    Returns False where the study's state does not lead there: nothing was changed.
    """
    allowed = Study.state.in_(states.sources(states.STUDY, state))
    statement = update(table(Study)).where(Study.id == study_id, allowed).values(state=state)
    return s.scalars(statement.returning(Study.id)).one_or_none() is not None


def edit(s: Session, study_id: int, definition: dict[str, Any]) -> bool:
    """Give a study that has not ended another definition. Its hash stays: it is still what was submitted."""
    live = Study.state.in_(states.live(states.STUDY))
    statement = update(table(Study)).where(Study.id == study_id, live)
    values = {"definition": definition, "revision": Study.revision + 1}
    return s.scalars(statement.values(values).returning(Study.id)).one_or_none() is not None


def reopen(s: Session, study_id: int) -> bool:
    """Let a study that has ended go on. False: it has not ended, and nothing was changed.

    Its term goes on growing with the next claim, so whatever an earlier coordinator still says is refused.
    """
    over = Study.state.in_(states.terminal(states.STUDY))
    again = {"state": states.REOPENED, "reason": None, "finished_at": None, "revision": Study.revision + 1}
    statement = update(table(Study)).where(Study.id == study_id, over).values(again)
    return s.scalars(statement.returning(Study.id)).one_or_none() is not None


def touch(s: Session, study_id: int) -> None:
    """Have the study's coordinator look at its rows again."""
    s.execute(update(table(Study)).where(Study.id == study_id).values(revision=Study.revision + 1))


def wishes(s: Session, owner: str) -> dict[int, tuple[str, int]]:
    """State and revision of the studies that an owner holds, by id: one cheap statement, to be asked often."""
    columns = select(Study.id, Study.state, Study.revision).where(Study.owner == owner)
    return {id: (state, revision) for id, state, revision in s.execute(columns)}  # noqa: A001


def explain_waiting(s: Session, study_id: int, owner: str, term: int, waits: str | None) -> None:
    """Store why nothing of the study runs; None: something does, or nothing could. A stale term changes nothing."""
    s.execute(update(table(Study)).where(*_held(study_id, owner, term)).values(waits=clean(waits) if waits else None))


def explain_left_alone(s: Session, study_id: int, why: str) -> None:
    """Store why a coordinator does not take a study that is free."""
    s.execute(update(table(Study)).where(Study.id == study_id, _free()).values(waits=clean(why)))


def unclaimed(s: Session, study_id: int) -> Study | None:
    """The study, where no coordinator's lease on it lives; none claims or renews it before this transaction ends."""
    row = select(Study).where(Study.id == study_id, _free())
    return s.scalars(row.with_for_update()).one_or_none()


def finish(s: Session, study_id: int, state: str, reason: str, revision: int | None = None) -> bool:
    """End the study as "finished", "failed", "stopped" or "cancelled", and its lease with it.

    Returns False where it has ended already, or where a person wants something else: nothing was changed.

    Args:
        revision: that was looked at; where a person has edited the study since, it may not be over. None: any.
    """
    states.require_terminal(states.STUDY, state)
    allowed = [Study.id == study_id, Study.state.in_(states.sources(states.STUDY, state))]
    if revision is not None:
        allowed.append(Study.revision == revision)
    end = {"state": state, "reason": clean(reason), "finished_at": clock.now(), **_NOBODY}
    statement = update(table(Study)).where(*allowed).values(end)
    return s.scalars(statement.returning(Study.id)).one_or_none() is not None


_NOBODY: dict[str, Any] = {"owner": None, "lease_until": None, "waits": None}


def _entry(s: Session, row: Study, counts: dict[str, int], lowest: float | None, highest: float | None) -> StudyEntry:
    direction, repeats = row.definition.get("direction", "minimize"), row.definition.get("repeats", 1)
    best = highest if direction == "maximize" else lowest
    if repeats > 1:
        best = configurations.best_mean(s, row.id, direction, repeats)
    weight, priority = row.definition.get("weight", 1.0), row.definition.get("priority", 0)
    return StudyEntry(row.name, row.state, counts, best, row.created_at, weight, priority, row.waits)


def _free() -> ColumnElement[bool]:
    return or_(Study.lease_until.is_(None), Study.lease_until <= clock.now())


def _held(study_id: int, owner: str, term: int) -> tuple[ColumnElement[bool], ...]:
    return Study.id == study_id, Study.owner == owner, Study.term == term
