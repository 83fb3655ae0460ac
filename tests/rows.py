"""Rows for tests: the smallest study there is, and attempts at its trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from db import decisions, reports, search_spaces, studies, trials
from db.engine import Database, Session
from db.tables import Event, Trial

SPACE: dict[str, Any] = {
    "schema": 1,
    "family": None,
    "parameters": {
        "units": {"type": "int", "low": 16, "high": 256, "log": True, "step": 1},
        "optimizer": {"type": "choice", "options": ["sgd", "adam", None, True, 2, 0.5]},
        "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
        "l2": {"type": "lambda", "low": 1e-7, "high": 0.1, "zero": 0.2},
    },
}


@dataclass(frozen=True)
class Held:
    """A running attempt: what every later statement about it names."""

    study: int
    trial: int
    token: int


def study(s: Session, name: str = "digits", **definition: Any) -> int:
    """Id of a new study."""
    space = search_spaces.put(s, SPACE, "5ace")
    form = {"direction": "minimize", **definition}
    return studies.create(s, name=name, definition=form, body_hash="b0d1", search_space_id=space, checked={}).id


def trial(s: Session, study_id: int) -> Trial:
    """A new queued trial with the study's next number."""
    number = s.scalars(select(func.count()).where(Trial.study_id == study_id)).one()
    new = trials.New(number, {"units": 16 + number}, seed=number, notes={})
    return trial_of(s, trials.create(s, study_id, [new])[number])


def trial_of(s: Session, trial_id: int) -> Trial:
    """The trial with this id."""
    return s.scalars(select(Trial).where(Trial.id == trial_id)).one()


def events(s: Session, study_id: int | None = None) -> list[Event]:
    """The events of one study or of all, oldest first."""
    found = select(Event).order_by(Event.id)
    return list(s.scalars(found if study_id is None else found.where(Event.study_id == study_id)))


def lease(s: Session, trial_id: int, worker: str = "worker", seconds: float = 60.0) -> int | None:
    """The token of a new attempt; None where the trial is not queued."""
    return trials.lease(s, {trial_id: None}, worker, seconds).get(trial_id)


def end(s: Session, held: Held, state: str, **result: Any) -> bool:
    """End a running attempt and its trial; False where its token is stale."""
    return trials.end(s, [trials.End(held.trial, held.token, state, **result)]) == 1


def requeue(s: Session, held: Held, **why: Any) -> bool:
    """End a running attempt and queue its trial again; False where its token is stale."""
    return trials.requeue(s, trials.End(held.trial, held.token, "queued", **why))


def report(s: Session, held: Held, epoch: int, metrics: dict[str, float], objective: float, seconds: float) -> bool:
    """Store a report; False where its token is stale."""
    return bool(reports.add(s, [reports.New(held.trial, held.token, epoch, metrics, objective, seconds)]))


def decide(s: Session, held: Held, epoch: int, action: str, rule: str, **found: Any) -> bool:
    """Store a decision; False where its token is stale."""
    return bool(decisions.add(s, [decisions.New(held.trial, held.token, epoch, action, rule, **found)]))


def held(s: Session, study_id: int, seconds: float = 60.0) -> Held:
    """A new trial with a running attempt."""
    row = trial(s, study_id)
    token = lease(s, row.id, seconds=seconds)
    assert token is not None
    return Held(study_id, row.id, token)


def running(database: Database) -> Held:
    """A study with one running trial, committed."""
    with database.write() as s:
        return held(s, study(s))
