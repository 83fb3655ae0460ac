"""Reports: the metrics of every epoch, in batches. The path with the most rows, so its statements are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from db import dialects, trials
from db.tables import Report, Trial, table


@dataclass(frozen=True)
class New:
    """What an attempt reported about one epoch."""

    trial_id: int
    token: int
    epoch: int
    metrics: dict[str, Any]
    objective: float | None  # NaN is stored as None; the metrics keep it
    seconds: float


_REACHED = update(table(Trial)).where(Trial.id == bindparam("the_trial")).values(epochs=bindparam("reached"))


def add(s: Session, new: Sequence[New]) -> set[tuple[int, int]]:
    """Store what attempts report: three statements, however many they are.

    Returns the attempts, as `(trial_id, token)`, whose reports were taken; where the token is stale, nothing was
    changed. An epoch that is there already for its token is kept as it is, so saying the same again is harmless.
    """
    current = trials.fenced(s, {(item.trial_id, item.token) for item in new})
    taken = [item for item in new if (item.trial_id, item.token) in current]
    if not taken:
        return current
    reached: dict[int, int] = {}
    for item in taken:
        reached[item.trial_id] = max(item.epoch, reached.get(item.trial_id, 0))
    s.execute(_REACHED, [{"the_trial": trial_id, "reached": epoch} for trial_id, epoch in reached.items()])
    insert = dialects.insert(s, table(Report)).on_conflict_do_nothing(index_elements=["trial_id", "token", "epoch"])
    s.execute(insert, [vars(item) for item in taken])
    return current


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
    # By number, not by id: an index gives the rows in this order, and nothing is sorted.
    ordered = columns.where(Trial.study_id == study_id).order_by(Trial.number, Report.token, Report.epoch)
    for number, epoch, value in s.execute(ordered):
        curves.setdefault(number, {})[epoch] = float("nan") if value is None else value
    return curves


def epochs(s: Session, study_id: int) -> dict[int, int]:
    """How many different epochs each trial reported, by number. Trials without a report are absent."""
    count = func.count(Report.epoch.distinct())
    joined = select(Trial.number, count).join(Trial, Trial.id == Report.trial_id).where(Trial.study_id == study_id)
    return dict(s.execute(joined.group_by(Trial.number)).all())
