"""Reports: the metrics of every epoch, in batches. The path with the most rows, so its statements are few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import dialects
from db.tables import Report, Trial, table


def add(
    s: Session, trial_id: int, token: int, rows: Sequence[tuple[int, dict[str, float], float | None, float]]
) -> bool:
    """Store the epochs that an attempt reports. False: the token is stale, and nothing was changed.

    Args:
        rows: (epoch, metrics, objective, seconds). An epoch that is there already for this token is kept as it is,
            so saying the same again is harmless. An objective that is NaN is stored as None; metrics keep it.
    """
    mine = (Trial.id == trial_id, Trial.token == token, Trial.state == "running")
    latest = max((epoch for epoch, *_ in rows), default=None)
    statement = update(table(Trial)).where(*mine).values(epochs=func.coalesce(latest, Trial.epochs))
    if s.scalars(statement.returning(Trial.id)).one_or_none() is None:
        return False
    if rows:
        key = ["trial_id", "token", "epoch"]
        insert = dialects.insert(s, table(Report)).on_conflict_do_nothing(index_elements=key)
        s.execute(insert, [_values(trial_id, token, *row) for row in rows])
    return True


def curve(s: Session, trial_id: int) -> list[Report]:
    """The trial's reports by epoch; where attempts overlap, the newest one's."""
    rows = s.scalars(select(Report).where(Report.trial_id == trial_id).order_by(Report.token))
    newest = {row.epoch: row for row in rows}
    return [newest[epoch] for epoch in sorted(newest)]


def objectives(s: Session, study_id: int) -> dict[int, dict[int, float]]:
    """The objective of every trial by epoch, as `{number: {epoch: value}}`; missing and NaN are NaN.

    Where attempts at a trial overlap, the newest one's value counts. Trials without a report are absent.
    """
    curves: dict[int, dict[int, float]] = {}
    columns = select(Trial.number, Report.epoch, Report.objective).join(Trial, Trial.id == Report.trial_id)
    ordered = columns.where(Trial.study_id == study_id).order_by(Report.trial_id, Report.token, Report.epoch)
    for number, epoch, value in s.execute(ordered):
        curves.setdefault(number, {})[epoch] = float("nan") if value is None else value
    return curves


def epochs(s: Session, study_id: int) -> dict[int, int]:
    """How many different epochs each trial reported, by number. Trials without a report are absent."""
    count = func.count(Report.epoch.distinct())
    joined = select(Trial.number, count).join(Trial, Trial.id == Report.trial_id).where(Trial.study_id == study_id)
    return dict(s.execute(joined.group_by(Trial.number)).all())


def _values(
    trial_id: int, token: int, epoch: int, metrics: dict[str, float], objective: float | None, seconds: float
) -> dict[str, Any]:
    key = {"trial_id": trial_id, "token": token, "epoch": epoch}
    return {**key, "metrics": metrics, "objective": objective, "seconds": seconds}
