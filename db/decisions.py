"""Decisions: why a trial went on or was stopped, kept so that a person can be told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import dialects, trials
from db.tables import Decision, table
from db.types import clean


def add(
    s: Session,
    trial_id: int,
    token: int,
    *,
    epoch: int,
    action: str,
    rule: str,
    value: float | None = None,
    threshold: float | None = None,
    rivals: Any = (),
    reason: str = "",
) -> bool:
    """Store the decision about an attempt at an epoch. False: the token is stale, and nothing was changed.

    The decision of an epoch is made once; saying it again changes nothing.

    Args:
        value: what the trial had, and `threshold` what it was compared with; NaN is stored as None.
        rivals: JSON, e.g. pairs of trial number and value.
        reason: one sentence.
    """
    if not trials.fenced(s, trial_id, token):
        return False
    key = {"trial_id": trial_id, "token": token, "epoch": epoch}
    found = {"value": value, "threshold": threshold, "rivals": rivals}
    statement = dialects.insert(s, table(Decision)).values(
        **key, action=action, rule=rule, reason=clean(reason), **found
    )
    s.execute(statement.on_conflict_do_nothing(index_elements=list(key)))
    return True


def of(s: Session, trial_id: int) -> list[Decision]:
    """The decisions about a trial, in the order in which they were made."""
    return list(
        s.scalars(select(Decision).where(Decision.trial_id == trial_id).order_by(Decision.token, Decision.epoch))
    )
