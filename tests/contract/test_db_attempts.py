"""What attempts leave: reports, decisions, artifacts, events."""

from __future__ import annotations

import math
from typing import Any

from db import artifacts, attempts, clock, decisions, events, models, reports, trials
from db.engine import Database, Session
from tests import rows
from tests.rows import Held


def report(s: Session, held: Held, epochs: range, base: float = 0.0) -> bool:
    batch = [
        reports.New(held.trial, held.token, epoch, {"val_loss": base + epoch, "loss": 0.5}, base + epoch, 0.1)
        for epoch in epochs
    ]
    return bool(reports.add(s, batch))


def again(s: Session, held: Held) -> Held:
    """The next attempt at the same trial."""
    assert rows.requeue(s, held, cause="node_lost", message="", log="")
    token = rows.lease(s, held.trial, "worker")
    assert token is not None
    return Held(held.study, held.trial, token)


def save(s: Session, held: Held, kind: str, epoch: int) -> str:
    key = f"{held.trial}/{held.token}/{kind}-{epoch}"
    assert artifacts.add(s, [artifacts.New(held.trial, held.token, kind, epoch, key, "5a", 2**33)])
    return key


def test_an_epoch_is_stored_once(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        assert report(s, held, range(1, 4))
        assert report(s, held, range(2, 6), base=100.0)
        assert [row.objective for row in reports.curve(s, held.trial)] == [1.0, 2.0, 3.0, 104.0, 105.0]
        assert rows.trial_of(s, held.trial).epochs == 5


def test_an_epoch_twice_in_one_batch_is_stored_once(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        assert reports.add(s, [reports.New(held.trial, held.token, 1, {"a": a}, a, 0.1) for a in (1.0, 2.0)])
        assert [row.metrics for row in reports.curve(s, held.trial)] == [{"a": 1.0}]


def test_a_stale_attempt_does_not_spoil_the_batch_it_is_in(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        current, old = rows.held(s, study), rows.held(s, study)
        again(s, old)
        both, mine = (current, old), {(current.trial, current.token)}
        assert reports.add(s, [reports.New(held.trial, held.token, 1, {"a": 1.0}, 1.0, 0.1) for held in both]) == mine
        assert decisions.add(s, [decisions.New(held.trial, held.token, 1, "stop", "asha") for held in both]) == mine
        saved = [artifacts.New(held.trial, held.token, "model", 1, f"key-{held.trial}", "5a", 1) for held in both]
        assert artifacts.add(s, saved) == mine
        assert trials.end(s, [trials.End(held.trial, held.token, "complete", 1.0) for held in both]) == 1
        assert [rows.trial_of(s, held.trial).state for held in both] == ["complete", "running"]
        assert not reports.curve(s, old.trial) and not decisions.of(s, old.trial)
        assert [row.key for row in artifacts.of_study(s, study)] == [f"key-{current.trial}"]
        assert [attempt.ended_at is None for attempt in trials.attempts(s, old.trial)] == [False, True]


def test_where_attempts_overlap_the_newest_counts(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        first, other = rows.held(s, study), rows.held(s, study)
        rows.trial(s, study)
        assert report(s, first, range(1, 6))
        second = again(s, first)
        assert report(s, second, range(3, 5), base=10.0)
        assert report(s, other, range(1, 2), base=math.nan)
        curve = reports.curve(s, first.trial)
        assert [(row.epoch, row.token, row.objective) for row in curve] == [
            (1, 1, 1.0), (2, 1, 2.0), (3, 2, 13.0), (4, 2, 14.0), (5, 1, 5.0),
        ]  # fmt: skip
        objectives = reports.objectives(s, study)
        assert objectives[0] == {1: 1.0, 2: 2.0, 3: 13.0, 4: 14.0, 5: 5.0}
        assert set(objectives) == {0, 1}
        assert math.isnan(objectives[1][1])
        assert reports.epochs(s, study) == {0: 5, 1: 1}


def test_objectives_are_of_one_study(database: Database) -> None:
    with database.write() as s:
        held, other = rows.held(s, rows.study(s)), rows.held(s, rows.study(s, "other"))
        assert report(s, held, range(1, 3))
        assert report(s, other, range(1, 4), base=50.0)
        assert reports.objectives(s, held.study) == {0: {1: 1.0, 2: 2.0}}
        assert reports.epochs(s, other.study) == {0: 3}


def test_a_decision_is_made_once_and_explained(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        fields: dict[str, Any] = {
            "value": 0.5,
            "threshold": 0.25,
            "rivals": [[3, 0.25], [7, math.inf]],
            "reason": "Worse than 2 of 3.",
        }
        assert rows.decide(s, held, 3, "stop", "asha", **fields)
        assert rows.decide(s, held, 3, "continue", "median")
        assert rows.decide(s, held, 1, "continue", "asha", value=math.nan)
    with database.read() as s:
        first, second = decisions.of(s, held.trial)
    assert (first.epoch, first.action, first.value, first.rivals) == (1, "continue", None, [])
    assert (second.epoch, second.action, second.rule, second.value, second.threshold, second.reason) == (
        3, "stop", "asha", 0.5, 0.25, "Worse than 2 of 3.",
    )  # fmt: skip
    assert second.rivals == [[3, 0.25], [7, math.inf]]


def test_the_newest_checkpoint_is_the_newest_attempts(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        assert artifacts.checkpoint(s, held.trial) is None
        old = [save(s, held, "checkpoint", epoch) for epoch in (5, 10)]
        model = save(s, held, "model", 9)
        second = again(s, held)
        new = save(s, second, "checkpoint", 7)  # it began with the earlier one
        newest = artifacts.checkpoint(s, held.trial)
        assert newest is not None
        assert (newest.key, newest.epoch, newest.bytes) == (new, 7, 2**33)
        found = artifacts.model(s, held.trial)
        assert found is not None
        assert found.key == model
        assert [row.key for row in artifacts.of_study(s, held.study)] == [*old, model, new]
        artifacts.remove(s, [newest.id])
        left = artifacts.checkpoint(s, held.trial)
        assert left is not None and left.key == old[-1]


def test_an_artifact_said_twice_is_one(database: Database) -> None:
    held = rows.running(database)
    with database.write() as s:
        assert save(s, held, "model", 1) == save(s, held, "model", 1)
        assert len(artifacts.of_study(s, held.study)) == 1


def test_trials_that_were_trained_together_share_a_folder(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        cohort = [rows.held(s, study) for _ in range(3)]
        new = [
            artifacts.New(held.trial, held.token, "model", 7 - n, "shared", "5a", 9) for n, held in enumerate(cohort)
        ]
        for _ in range(2):  # said again it changes nothing
            artifacts.add(s, new)
        found = [(row.trial_id, row.epoch, row.key) for row in artifacts.of_study(s, study)]
        assert found == [(held.trial, 7 - n, "shared") for n, held in enumerate(cohort)]


def test_how_an_attempt_is_trained_is_said_while_it_runs(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        lost, other, silent = (rows.held(s, study) for _ in range(3))
        first = [attempts.Trained(held.trial, held.token, "in a cohort", "w-1") for held in (lost, other)]
        attempts.say_trained(s, first)
        second = again(s, lost)
        assert attempts.trained(s, study) == {1: "in a cohort"}, (
            "of the first trial's second attempt nobody has said so"
        )
        attempts.say_trained(s, [attempts.Trained(lost.trial, lost.token, "too late", "w-1")])
        attempts.say_trained(s, [attempts.Trained(second.trial, second.token, "alone\x00", "w-2")])
        said = [(row.trained, row.worker) for row in trials.attempts(s, lost.trial)]
        assert said == [("in a cohort", "w-1"), ("alone\ufffd", "w-2")]
        assert rows.end(s, second, "pruned")
        assert attempts.trained(s, study) == {0: "alone\ufffd", 1: "in a cohort"}
        assert [row.trained for row in trials.attempts(s, silent.trial)] == [None]


def test_when_attempts_ran(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        lost, _, forgotten = rows.held(s, study), rows.held(s, study), rows.held(s, study, seconds=-60.0)
        rows.held(s, rows.study(s, "other"))
        second = again(s, lost)
        assert rows.end(s, second, "pruned")
        assert rows.end(s, forgotten, "complete")
        now = clock.read(s)
        spans = {(span.number, span.token): span for span in attempts.spans(s, study)}
        assert {key: span.state for key, span in spans.items()} == {
            (0, 1): "interrupted",
            (0, 2): "pruned",
            (1, 1): "running",
            (2, 1): "complete",
        }
        assert spans[0, 1].started <= spans[0, 1].ended <= spans[0, 2].started <= spans[0, 2].ended
        assert now <= spans[1, 1].ended, "it runs until now"
        assert spans[2, 1].ended == spans[2, 1].started, "its lease had ended before"


def test_promoted_trials_are_those_of_versions_that_did_not_fail(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        failed, staging, ready, _ = (rows.held(s, study).trial for _ in range(4))
        model = models.ensure(s, "digits", "/models/digits")
        models.fail(s, models.reserve(s, model.id, failed, str).id, "disk full")
        models.reserve(s, model.id, staging, str)
        models.ready(s, models.reserve(s, model.id, ready, str).id, "5a", {})
        assert artifacts.promoted_trials(s, study) == {staging, ready}
        assert artifacts.promoted_trials(s, rows.study(s, "other")) == set()


def test_events_are_listed_in_order(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        held = rows.held(s, study)
        for number in range(5):
            events.add(s, "counted", study_id=study, trial_id=held.trial, number=number, share=math.nan)
        events.add(s, "started")
        assert [event.data["number"] for event in rows.events(s, study)] == [0, 1, 2, 3, 4]
        assert [event.kind for event in rows.events(s)] == ["counted"] * 5 + ["started"]
        assert events.count(s, "counted", study) == 5
        assert events.count(s, "started", study) == 0
