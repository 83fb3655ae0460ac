"""What one answer of a worker means, when the next one is there already."""

from __future__ import annotations

import time

from db.tables import Study
from tuner.active_study import ActiveStudy
from tuner.collecting import Running, collect
from tuner.definition import parse
from tuner.tried import Attempt
from tuner.writing import Rows
from workers.contract import Report, SliceResult


def answer(*epochs: int) -> SliceResult:
    return SliceResult("a", "w", reports=tuple(Report(0, 1, epoch, {"val_loss": 1.0 / epoch}, 0.1) for epoch in epochs))


def test_a_trial_is_judged_by_reports_that_were_taken_in_and_not_by_those_that_are_only_heard() -> None:
    """On a busy machine two answers wait; the first does not reach the rung, though the second one does."""
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    form = {"name": "study", "loop": "tests.loops:descent", "space": space, "objective": "val_loss", "grace": 2}
    definition = parse({**form, "epochs": 9, "sampler": "random"})
    study = ActiveStudy(Study(id=1, name="study", state="active", definition=definition.to_json()), 1, [])
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
