"""What one answer of a worker means, when the next one is there already."""

from __future__ import annotations

import time

from db.tables import Study
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.collecting import Running, collect
from tuner.coordination.tried import Attempt
from tuner.coordination.writing import Rows
from tuner.definitions.definition import parse
from workers.contract import Report, SliceResult


def answer(*epochs: int) -> SliceResult:
    return SliceResult("a", "w", reports=tuple(Report(0, 1, epoch, {"val_loss": 1.0 / epoch}, 0.1) for epoch in epochs))


def new_study() -> ActiveStudy:
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    form = {"name": "study", "loop": "tests.loops:descent", "space": space, "objective": "val_loss", "grace": 2}
    definition = parse({**form, "epochs": 9, "sampler": "random"})
    return ActiveStudy(
        Study(id=1, name="study", state="active", definition=definition.to_json(), checked={}, active_seconds=0.0),
        1,
        [],
    )


def test_a_trial_is_judged_by_reports_that_were_taken_in_and_not_by_those_that_are_only_heard() -> None:
    """On a busy machine two answers wait; the first does not reach the rung, though the second one does."""
    study = new_study()
    [number] = study.waiting(0, time.monotonic())
    attempt = Attempt(1, number, 1)
    study.start(attempt)
    running, rows = Running(study, {number: attempt}, study.until(attempt)), Rows()
    first, second = answer(1), answer(2)
    assert running.goes_on(first)
    assert not running.goes_on(second)
    assert not collect(running, first, rows).decided
    assert not rows.decisions
    assert collect(running, second, rows).decided
    [decision] = rows.decisions
    assert (decision.action, decision.epoch, decision.value) == ("continue", 2, 0.5)


def test_a_trial_that_resumed_beyond_the_rung_of_its_company_does_not_hold_it_up() -> None:
    """Each goes on from its own checkpoint; the rung is that of the one that is behind."""
    study = new_study()
    study.propose()
    study.propose()
    attempts = {number: Attempt(number + 1, number, 1, epoch) for number, epoch in ((0, 1), (1, 5))}
    for attempt in attempts.values():
        study.start(attempt)
    study.report(0, 1, 1.0, 0.1)
    running, rows = Running(study, attempts, min(map(study.until, attempts.values()))), Rows()
    assert running.until == 2
    assert not running.goes_on(answer(2))
    assert collect(running, answer(2), rows).decided, "nobody would ask for the next slice"
    assert [decision.trial_id for decision in rows.decisions] == [1], "only one of them stands at the rung"
    assert {attempt.epoch for attempt in running.attempts.values()} == {2, 5}
