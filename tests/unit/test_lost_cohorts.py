"""A cohort whose worker is lost is divided until the trial that ends its worker is alone; the others go on together."""

from __future__ import annotations

import time
from collections.abc import Collection

import pytest

from db.tables import Study
from tuner.coordination import outcomes
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.collecting import Running, collect
from tuner.coordination.tried import Attempt, Point
from tuner.coordination.writing import Rows
from tuner.definitions.definition import parse
from tuner.samplers.points import random_point
from workers.contract import Cause, Ended, Lost, SliceResult


def study(together: int) -> ActiveStudy:
    form = {"name": "study", "data": "examples.digits:load", "cohort": together, "trials": 64, "sampler": "random"}
    definition = parse({**form, "space": {"family": "mlp", "depth": 1, "width": 8}})
    row = Study(id=1, name="study", state="active", definition=definition.to_json(), checked={}, active_seconds=0.0)
    study = ActiveStudy(row, 1, [])
    for _ in range(together):
        add(study)
    return study


def add(study: ActiveStudy) -> None:
    """One more trial that waits."""
    number = len(study.points)
    study.add(Point(number, random_point(study.space, number), {}))


def begun(study: ActiveStudy) -> Running:
    """What waits is given to a worker."""
    attempts = {number: Attempt(number, number, 1) for number in study.waiting(0, time.monotonic())}
    for attempt in attempts.values():
        study.start(attempt)
    return Running(study, attempts, study.definition.epochs)


def lose(running: Running, cause: Cause = "node_lost") -> Rows:
    rows = Rows()
    collect(running, Lost("a", "w", cause, "The worker is gone.", process_end="by signal SIGKILL"), rows)
    return rows


def finish(running: Running, *numbers: int) -> None:
    for number in numbers or tuple(running.attempts):
        running.study.move(number, "complete", 1.0)
        running.attempts.pop(number)


def sizes_of_what_waits(study: ActiveStudy) -> list[int]:
    sizes: list[int] = []
    while group := study.waiting(sum(sizes), time.monotonic()):
        if not set(group) & study.points.keys():  # the next ones are new
            break
        sizes.append(len(group))
    return sizes


def deaths(study: ActiveStudy, bad: Collection[int]) -> int:
    """Train all that waits, losing each worker that has a bad trial; how many that were."""
    count = 0
    while sizes_of_what_waits(study):
        running = begun(study)
        if running.attempts.keys().isdisjoint(bad):
            finish(running)
        else:
            count += 1
            lose(running)
    return count


@pytest.mark.parametrize(("together", "groups"), [(1, [1]), (3, [1, 1, 1]), (16, [4] * 4), (64, [16] * 4)])
def test_after_a_loss_they_go_on_in_quarters(together: int, groups: list[int]) -> None:
    lost = study(together)
    lose(begun(lost))
    assert sizes_of_what_waits(lost) == groups


@pytest.mark.parametrize(("together", "most"), [(1, 2), (2, 2), (16, 3), (64, 4)])
def test_a_bad_trial_fails_alone_and_all_others_complete(together: int, most: int) -> None:
    for bad in {0, together // 2, together - 1}:
        cohort = study(together)
        assert deaths(cohort, {bad}) == most
        ends = {number: point.state for number, point in cohort.points.items()}
        assert ends == {number: "failed" if number == bad else "complete" for number in range(together)}


def test_after_a_lost_node_all_go_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "PAUSE_SECONDS", 0.0)
    cohort = study(16)
    collect(begun(cohort), Lost("a", "w", "node_lost", "Its node is gone."), Rows())
    assert sizes_of_what_waits(cohort) == [16]


def test_two_bad_trials_are_both_found() -> None:
    cohort = study(16)
    assert deaths(cohort, {1, 14}) <= 2 * 3
    assert [number for number, point in cohort.points.items() if point.state == "failed"] == [1, 14]


def test_a_loss_in_company_does_not_use_up_the_retry_of_one_that_is_then_alone() -> None:
    """Who is alone when it is lost is the suspect: the last one of an assignment whose others have ended, too."""
    cohort = study(16)
    running = begun(cohort)
    finish(running, *range(1, 16))
    assert [attempt.number for attempt, _ in lose(running).retries] == [0]
    ends = lose(begun(cohort)).ends
    assert [(end.trial_id, end.state, end.cause) for end in ends] == [(0, "failed", "node_lost")]


def test_memory_that_was_too_small_for_all_may_do_for_a_quarter() -> None:
    cohort = study(8)
    running = begun(cohort)
    rows = Rows()
    ended = tuple(Ended(number, 1, "oom", "No more memory.") for number in running.attempts)
    collect(running, SliceResult("a", "w", ended=ended), rows)
    assert len(rows.retries) == 8 and not rows.ends
    assert sizes_of_what_waits(cohort) == [2, 2, 2, 2]


def test_others_do_not_join_what_was_lost() -> None:
    cohort = study(4)
    lose(begun(cohort))
    add(cohort)
    add(cohort)
    assert sizes_of_what_waits(cohort) == [1, 1, 1, 1, 2]


def test_a_final_cause_is_final_in_company_too() -> None:
    running = begun(study(4))
    rows = Rows()
    collect(running, SliceResult("a", "w", ended=(Ended(2, 1, "user_error", "It raised."),)), rows)
    assert [(end.trial_id, end.state) for end in rows.ends] == [(2, "failed")] and not rows.retries
