"""Trials: every transition is guarded, a token fences what is said in its name, leases end by themselves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text

from db import artifacts, attempts, states, trials
from db.engine import Database, Session
from db.errors import IllegalTransition
from db.tables import Base
from tests import rows
from tests.rows import Held

NAP = 0.4

WRITES: dict[str, Callable[[Session, Held], Any]] = {
    "heartbeat": lambda s, held: trials.heartbeat(s, [(held.trial, held.token)], 60),
    "complete": lambda s, held: rows.end(s, held, "complete", value=1.0, epochs=3, log="late"),
    "pruned": lambda s, held: rows.end(s, held, "pruned", value=1.0),
    "failed": lambda s, held: rows.end(s, held, "failed", cause="oom"),
    "cancelled": lambda s, held: rows.end(s, held, "cancelled"),
    "requeue": lambda s, held: rows.requeue(s, held, cause="hang", message="late", log="late"),
    "report": lambda s, held: rows.report(s, held, 9, {"loss": 9.0}, 9.0, 9.0),
    "decision": lambda s, held: rows.decide(s, held, 9, "stop", "asha"),
    "artifact": lambda s, held: artifacts.add(s, [artifacts.New(held.trial, held.token, "model", 9, "late", "0", 1)]),
    "trained": lambda s, held: attempts.say_trained(s, [attempts.Trained(held.trial, held.token, "late", "w")]),
}
"""Every function that writes in an attempt's name."""


def everything(s: Session) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {
        name: sorted(map(tuple, s.execute(text(f"SELECT * FROM {name}"))), key=repr) for name in Base.metadata.tables
    }


def stale(s: Session, study: int, how: str) -> Held:
    """An attempt that is over: its trial was queued again, began anew, ended, or the token was never given."""
    held = rows.held(s, study)
    if how in ("queued again", "begun anew"):
        assert rows.requeue(s, held, cause="hang", message="", log="")
    if how == "begun anew":
        assert rows.lease(s, held.trial, "other") == held.token + 1
    if how == "ended":
        assert rows.end(s, held, "complete", value=0.5)
    return Held(study, held.trial, held.token + 1) if how == "from the future" else held


@pytest.mark.parametrize("how", ["queued again", "begun anew", "ended", "from the future"])
def test_a_stale_token_changes_nothing(database: Database, how: str) -> None:
    with database.write() as s:
        held = stale(s, rows.study(s), how)
    for name, write in WRITES.items():
        with database.write() as s:
            before = everything(s)
            assert not write(s, held), f"{name} was accepted"
            assert everything(s) == before, f"{name} changed something"


@pytest.mark.parametrize("name", WRITES)
def test_the_current_token_is_accepted(database: Database, name: str) -> None:
    held = rows.running(database)
    with database.write() as s:
        before = everything(s)
        assert WRITES[name](s, held)
        assert everything(s) != before


def test_every_transition_is_the_tables(database: Database) -> None:
    """Each operation tried in each state moves the trial where the table says, or leaves it alone."""
    moves: dict[str, Callable[[Session, Held], Any]] = {
        "running": lambda s, held: rows.lease(s, held.trial, "worker") is not None,
        "queued": WRITES["requeue"],
        **{state: WRITES[state] for state in states.terminal(states.TRIAL)},
    }
    with database.write() as s:
        study = rows.study(s)
        for source, target in product(states.TRIAL, moves):
            held = rows.held(s, study)
            if source != "running":
                assert moves[source](s, held)
            moved = moves[target](s, held)
            # A queued trial is cancelled by cancel_queued alone: no attempt can say so.
            allowed = target in states.TRIAL[source] and (source, target) != ("queued", "cancelled")
            assert bool(moved) == allowed, f"{source} -> {target}"
            assert rows.trial_of(s, held.trial).state == (target if allowed else source)


def test_a_trial_does_not_end_as_something_else(database: Database) -> None:
    held = rows.running(database)
    for state in ("queued", "running", "done"):
        with pytest.raises(IllegalTransition, match=state), database.write() as s:
            rows.end(s, held, state)


def test_cancelling_leaves_all_but_the_queued_ones(database: Database) -> None:
    with database.write() as s:
        study, other = rows.study(s), rows.study(s, "other")
        queued = [rows.trial(s, study).id for _ in range(3)]
        held = rows.held(s, study)
        rows.trial(s, other)
        assert trials.cancel_queued(s, study) == 3
        assert trials.cancel_queued(s, study) == 0
        assert all(rows.trial_of(s, trial).state == "cancelled" for trial in queued)
        assert rows.trial_of(s, held.trial).state == "running"
        assert len(trials.queued(s, other, 10)) == 1
        assert rows.lease(s, queued[0], "worker") is None


def test_tokens_grow_and_attempts_are_remembered(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        assert rows.requeue(s, held, cause="oom", message="exit code 137", log="the end")
        assert rows.trial_of(s, held.trial).state == "queued"
        assert trials.lease(s, {held.trial: 4}, "second", 60) == {held.trial: 2}
        assert rows.end(s, Held(held.study, held.trial, 2), "complete", value=0.25, best_epoch=6, message="fine")
    with database.read() as s:
        first, second = trials.attempts(s, held.trial)
        row = rows.trial_of(s, held.trial)
    assert (first.token, first.worker, first.cause, first.message, first.log) == (
        1, "worker", "oom", "exit code 137", "the end",
    )  # fmt: skip
    assert (second.token, second.worker, second.resumed_from, second.cause) == (2, "second", 4, None)
    assert (row.state, row.token, row.value, row.best_epoch, row.cause, row.message) == (
        "complete", 2, 0.25, 6, None, "fine",
    )  # fmt: skip
    assert row.started_at is not None
    assert row.started_at <= first.started_at
    assert row.finished_at is not None
    assert first.ended_at is not None
    assert second.ended_at is not None


def test_why_attempts_ended_is_told_of_trials_that_have_not_ended(database: Database) -> None:
    with database.write() as s:
        study, other = rows.study(s), rows.study(s, "other")
        again, over, untouched, elsewhere = (rows.held(s, of) for of in (study, study, study, other))
        assert rows.requeue(s, again, cause="node_lost", process_end="by signal SIGKILL")
        assert rows.lease(s, again.trial) == 2
        assert rows.requeue(s, Held(study, again.trial, 2), cause="oom")
        assert rows.end(s, over, "failed", cause="user_error")
        assert rows.requeue(s, elsewhere, cause="hang")
        assert trials.causes(s, study) == {0: [("node_lost", "by signal SIGKILL"), ("oom", None)]}
        assert rows.end(s, untouched, "complete", value=0.5)


def test_a_lease_ends_unless_a_heartbeat_comes(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        silent, alive, patient = rows.held(s, study, NAP), rows.held(s, study, NAP), rows.held(s, study, 60)
        assert trials.expired(s, study) == []
    with database.write() as s:
        assert trials.heartbeat(s, [(alive.trial, alive.token), (patient.trial, patient.token)], 60) == {
            alive.trial,
            patient.trial,
        }
    time.sleep(NAP)
    with database.write() as s:
        assert [row.id for row in trials.expired(s, study)] == [silent.trial]
        assert rows.requeue(s, silent, cause="node_lost", message="", log="")
        assert trials.expired(s, study) == []


def test_one_heartbeat_renews_a_thousand_attempts(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        several = [rows.held(s, study) for _ in range(1001)]
        gone = several[500]
        assert rows.end(s, gone, "complete")
        assert trials.heartbeat(s, [(held.trial, held.token) for held in several], 60) == {
            held.trial for held in several
        } - {gone.trial}
        assert trials.heartbeat(s, [], 60) == set()


def test_trials_are_found_by_state_and_number(database: Database) -> None:
    with database.write() as s:
        study, other = rows.study(s), rows.study(s, "other")
        for _ in range(5):
            rows.trial(s, study)
        rows.trial(s, other)
        first, *_ = trials.queued(s, study, 1)
        assert rows.lease(s, first.id, "worker") == 1
        assert [row.number for row in trials.queued(s, study, 2)] == [1, 2]
        assert [row.number for row in trials.queued(s, study, None)] == [1, 2, 3, 4]
        assert [row.number for row in trials.running(s, study)] == [0]
        assert [row.number for row in trials.all(s, study)] == [0, 1, 2, 3, 4]
        assert trials.get(s, study, 5) is None


@pytest.mark.parametrize(("direction", "order"), [("minimize", [2, 4, 0]), ("maximize", [0, 2, 4])])
def test_the_best_is_finite_completed_and_the_earliest_of_equals(
    database: Database, direction: str, order: list[int]
) -> None:
    with database.write() as s:
        study = rows.study(s)
        for value in (2.0, math.nan, 1.0, math.inf, 1.0, -math.inf, None):
            held = rows.held(s, study)
            assert rows.end(s, held, "complete", value=value)
        for state, value in (("pruned", -5.0), ("failed", 5.0)):
            held = rows.held(s, study)
            assert rows.end(s, held, state, value=value)
        assert [row.number for row in trials.best(s, study, direction, limit=10)] == order
        assert [row.number for row in trials.best(s, study, direction)] == order[:1]
