"""Decisions: why a trial went on or was stopped, kept so that a person can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import dialects, trials
from db.tables import Decision, table
from db.types import clean


@dataclass(frozen=True)
class New:
    """What was decided about an attempt at an epoch."""

    trial_id: int
    token: int
    epoch: int
    action: str
    rule: str
    value: float | None = None  # what the trial had; NaN is stored as None
    threshold: float | None = None  # what it was compared with
    rivals: Any = ()  # JSON, e.g. pairs of trial number and value
    reason: str = ""  # one sentence


def add(s: Session, new: Sequence[New]) -> set[tuple[int, int]]:
    """Store decisions. Returns the attempts, as `(trial_id, token)`, whose token is not stale; only theirs are stored.

    The decision of an epoch is made once; saying it again changes nothing.
    """
    current = trials.fenced(s, {(item.trial_id, item.token) for item in new})
    rows = [vars(item) | {"reason": clean(item.reason)} for item in new if (item.trial_id, item.token) in current]
    if rows:
        key = ["trial_id", "token", "epoch"]
        s.execute(dialects.insert(s, table(Decision)).on_conflict_do_nothing(index_elements=key), rows)
    return current


def of(s: Session, trial_id: int) -> list[Decision]:
    """The decisions about a trial, in the order in which they were made."""
    return list(
        s.scalars(select(Decision).where(Decision.trial_id == trial_id).order_by(Decision.token, Decision.epoch))
    )
