"""Events: what a person may want to read later, in the order in which it was committed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from db.tables import Event, table


def add(s: Session, kind: str, *, study_id: int | None = None, trial_id: int | None = None, **data: Any) -> None:
    """Store an event. `data` is JSON, without secrets."""
    s.execute(insert(table(Event)).values(kind=kind, study_id=study_id, trial_id=trial_id, data=data))


def count(s: Session, kind: str, study_id: int) -> int:
    """How often something happened to a study."""
    return s.scalars(select(func.count()).where(Event.study_id == study_id, Event.kind == kind)).one()


def latest(s: Session, kind: str, trial_id: int) -> Event | None:
    """What happened to a trial last."""
    rows = select(Event).where(Event.trial_id == trial_id, Event.kind == kind)
    return s.scalars(rows.order_by(Event.id.desc()).limit(1)).one_or_none()
