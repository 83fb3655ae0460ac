"""How often a trial is tried again, when, and in whose company; and what a study's failure limit counts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
from sqlalchemy import text

from db import trials
from db.tables import Attempt
from tests.bench import Bench
from tests.crowd import Crowd
from tuner import Study, StudyFailed, verbs
from tuner.coordination import coordinator as coordinating
from tuner.coordination import outcomes
from tuner.coordination.coordinator import Coordinator
from tuner.coordination.standing import read_progress
from tuner.definitions.definition import StudyDefinition, parse
from tuner.reporting.results import study_row, summary
from workers.contract import Cause

LONG: dict[str, Any] = {"loop": "paced", "epochs": 40, "trials": 1, "checkpoint_seconds": 0.001}


@pytest.fixture
def bench(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(outcomes, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(coordinating, "LOOK_SECONDS", 0.05)
    return make_bench("crowd", workers=3)


def lose(bench: Bench, numbers: Collection[int], token: int, cause: Cause, process_end: str = "") -> None:
    """Have the worker that runs these attempts vanish, once one of them has reported something."""
    assert isinstance(bench.launcher, Crowd)
    crowd, found = bench.launcher, list[str]()

    def reported() -> bool:
        found[:] = [name for worker in crowd.describe() if (name := worker["assignment"]) and holds(name)]
        return bool(found) and any(trial.epochs for trial in bench.trials("study") if trial.number in numbers)

    def holds(name: str) -> bool:
        return {(member.trial, member.token) for member in crowd.assignments[name].members} == wanted

    wanted = {(number, token) for number in numbers}
    bench.run(reported)
    crowd.lose(found[0], cause, process_end)


def attempts(bench: Bench, number: int) -> list[Attempt]:
    with bench.database.read() as s:
        return trials.attempts(s, bench.trials("study")[number].id)


@pytest.mark.parametrize(("losses", "state"), [(3, "complete"), (4, "failed")])
def test_a_lost_node_is_survived_three_times(bench: Bench, losses: int, state: str) -> None:
    bench.submit("study", **LONG)
    for token in range(1, losses + 1):
        lose(bench, {0}, token, "node_lost")
    bench.finish("study")
    [trial] = bench.trials("study")
    assert (trial.state, trial.token) == (state, min(4, losses + 1))
    assert [attempt.cause for attempt in attempts(bench, 0)] == (["node_lost"] * losses + [None])[:4]
    if state == "failed":
        assert trial.message == "Its node is gone. Attempt 4 that ended so: the trial is not tried again."


def test_the_pause_before_a_retry_is_the_databases_and_survives_the_coordinator(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "PAUSE_SECONDS", 3600.0)
    bench.submit("study", **LONG)
    lose(bench, {0}, 1, "storage")
    bench.run(lambda: bench.trials("study")[0].state == "queued")
    bench.coordinator.close()
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.run(lambda: summary(bench.database, "study").waits is not None)
    assert summary(bench.database, "study").waits == "trial 0 is tried again after a pause: storage"
    with bench.database.read() as s:
        assert 3000 < trials.delayed(s, study_row(bench.database, "study").id)[0] <= 3600
    bench.coordinator.close()
    with bench.database.write() as s:
        s.execute(text("UPDATE trial SET retry_at = created_at"))
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.finish("study")
    assert [trial.state for trial in bench.trials("study")] == ["complete"]


def test_a_trial_that_ends_its_workers_takes_its_company_down_once_and_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StudyDefinition, "together", lambda *_: 3)
    bench.submit("study", **{**LONG, "trials": 3})
    lose(bench, {0, 1, 2}, 1, "node_lost", "by signal SIGSEGV")
    lose(bench, {1}, 2, "node_lost", "by signal SIGSEGV")
    bench.finish("study")
    assert [(trial.state, trial.token) for trial in bench.trials("study")] == [
        ("complete", 2), ("failed", 2), ("complete", 2),
    ]  # fmt: skip
    assert [(attempt.cause, attempt.process_end) for attempt in attempts(bench, 1)] == [
        ("node_lost", "by signal SIGSEGV")
    ] * 2


def test_the_failure_limit_counts_failed_trials_and_nothing_else(bench: Bench) -> None:
    """One more than the limit fails the study; a retry, a cancelled and a pruned trial are none."""
    bench.submit("study", **{**LONG, "trials": 3, "epochs": 60}, max_failures=1)
    lose(bench, {0}, 1, "node_lost")
    lose(bench, {1}, 1, "oom")
    lose(bench, {1}, 2, "oom")
    assert verbs.cancel_trial(bench.database, "study", 2)
    bench.finish("study")
    assert [trial.state for trial in bench.trials("study")] == ["complete", "failed", "cancelled"]
    assert bench.state("study") == "finished"
    assert summary(bench.database, "study").failures == {"oom": 1}


def test_what_the_users_code_leaves_out_is_no_failure_of_the_study(bench: Bench) -> None:
    """Neither for the coordinator that saw it nor for the next one, which reads it."""
    kinds = ["left out", "left out", "raises", "left out", "good"]
    space = {"kind": {"type": "choice", "options": ["left out", "raises", "good"]}}
    points = [{"kind": kind} for kind in kinds]
    bench.submit("study", loop="sometimes_bad", space=space, enqueue=points, trials=5, max_failures=1)
    bench.finish("study")
    row = study_row(bench.database, "study")
    assert row.state == "finished"
    assert [trial.cause for trial in bench.trials("study")] == ["infeasible"] * 2 + ["user_error", "infeasible", None]
    with bench.database.read() as s:
        assert read_progress(s, row, StudyDefinition.from_json(row.definition)).failures == 1


def test_a_study_that_failed_says_by_what(bench: Bench) -> None:
    """To a program that waits for it, which does not see the trials."""
    space = {"kind": {"type": "choice", "options": ["raises", "nan", "left out"]}}
    points = [{"kind": kind} for kind in ("raises", "left out", "nan", "raises")]
    bench.submit("study", loop="sometimes_bad", space=space, enqueue=points, trials=4, max_failures=2)
    bench.finish("study")
    study = Study(parse({"name": "study", "loop": "a:b", "space": space}), bench.settings, bench.database)
    with pytest.raises(StudyFailed, match=r"Causes: 1 x non_finite, 2 x user_error\."):
        study.wait()
