"""The coordinator over real databases and real workers; the trials are loops that need no TensorFlow."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import update

from db import studies, trials
from db.engine import Session
from db.errors import DatabaseUnavailable
from db.tables import Study, Trial, table
from search_spaces import Space
from tests import rows
from tests.bench import Bench
from tests.invariants import check_invariants
from tuner.coordination import assignments
from tuner.coordination import coordinator as coordinating
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.coordinator import Coordinator
from tuner.errors import InvalidInput, InvalidStudy, StudyExists
from tuner.logs import JsonLines
from tuner.reporting.results import study_row, summary, trial_results
from tuner.samplers.sampling import Observation, Proposal, Sampler
from workers.contract import Assignment, LauncherError


def test_the_log_tells_what_becomes_of_a_study(
    make_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tuner.coordinator")
    bench = make_bench("inline")
    bench.submit("study", "sometimes_bad", trials=6, max_failures=6)
    bench.finish("study")
    begin, *failed, end = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert begin["message"] == "Study study is run here now; 0 of its 6 trials have begun."
    assert end["message"] == "Study study is finished: The study's limit of 6 trials is reached."
    bad = [trial for trial in bench.trials("study") if trial.state == "failed"]
    assert bad and {(line["study"], line["trial"]) for line in failed} == {("study", trial.number) for trial in bad}
    assert begin["study"] == end["study"] == "study"


def test_two_studies_at_once_both_progress_and_finish(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.submit("first", "slow_descent")
    bench.submit("second", "slow_descent")
    bench.run(lambda: all(len(bench.trials(name)) >= 2 for name in ("first", "second")))
    assert {bench.state("first"), bench.state("second")} == {"active"}, "one had to wait for the other"
    bench.finish("first", "second")
    assert [summary(bench.database, name).counts for name in ("first", "second")] == [{"complete": 6}] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [({"sampler": "oracle"}, "The sampler is 'oracle'"), ({"quorum": 3}, "A newer version wrote it")],
)
def test_a_study_that_cannot_be_run_here_is_left_alone_and_the_others_go_on(
    make_bench: Callable[..., Bench], change: dict[str, Any], words: str
) -> None:
    bench = make_bench("inline")
    bench.submit("strange")
    bench.submit("usual")
    with bench.database.write() as s:
        row = studies.find(s, "strange")
        assert row is not None
        s.execute(update(table(Study)).where(Study.id == row.id).values(definition={**row.definition, **change}))
    bench.finish("usual")
    row = study_row(bench.database, "strange")
    assert (row.state, row.owner) == ("active", None)
    assert words in (row.waits or "")
    alone = Coordinator(bench.database, bench.launcher, bench.settings, only="strange")
    with pytest.raises(InvalidInput, match=words):
        alone.step()


@pytest.mark.parametrize(
    "damage", [{"notes": {"gp_fit": ["?"] * 4}}, {"params": {"x": "?"}}], ids=["proposing", "observing"]
)
def test_a_sampler_that_fails_ends_its_own_study_and_no_other(
    make_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture, damage: dict[str, Any]
) -> None:
    bench = make_bench("inline")
    bench.submit("strange", sampler="gp", trials=20)
    bench.run(lambda: summary(bench.database, "strange").counts.get("complete") == 2)
    bench.coordinator.close()
    with bench.database.write() as s:
        first = trials.numbered(s, study_row(bench.database, "strange").id, [0])[0]
        s.execute(update(table(Trial)).where(Trial.id == first.id).values(damage))
    bench.submit("usual")
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.finish("strange", "usual")
    told = summary(bench.database, "strange")
    assert told.state == "failed"
    assert told.reason.startswith("The sampler 'gp' failed: TypeError: ")
    assert told.counts.keys() == {"complete"}, "what had begun was not finished"
    assert "Traceback" in caplog.text
    assert summary(bench.database, "usual").counts == {"complete": 6}


def test_a_sampler_that_fails_when_it_is_not_needed_any_more_spoils_nothing(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = Sampler.observe

    def fails_at_the_end(sampler: Sampler, seen: Observation) -> None:
        if seen.number == 5 and seen.state == "complete":
            raise ArithmeticError("singular")
        observe(sampler, seen)

    monkeypatch.setattr(Sampler, "observe", fails_at_the_end)
    bench = make_bench("inline")
    bench.submit("study")
    bench.finish("study")
    told = summary(bench.database, "study")
    assert (told.state, told.counts) == ("finished", {"complete": 6})


def test_a_sampler_that_cannot_be_made_fails_its_own_study(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Sampler.__init__

    def fails(sampler: Sampler, space: Space, kind: str, *rest: Any) -> None:
        if kind == "qmc":
            raise OSError("a library is broken.")
        make(sampler, space, kind, *rest)

    monkeypatch.setattr(Sampler, "__init__", fails)
    bench = make_bench("inline")
    bench.submit("strange", sampler="qmc")
    bench.submit("usual")
    bench.finish("strange", "usual")
    told = summary(bench.database, "strange")
    assert (told.state, told.reason) == ("failed", "The sampler 'qmc' failed: OSError: a library is broken.")
    assert summary(bench.database, "usual").counts == {"complete": 6}


def test_a_coordinator_without_memory_blames_no_study(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausts(*_: Any) -> list[Proposal]:
        raise MemoryError

    bench = make_bench("inline")
    bench.submit("study")
    monkeypatch.setattr(Sampler, "propose_together", exhausts)
    with pytest.raises(MemoryError):
        bench.coordinator.step()
    monkeypatch.undo()
    bench.finish("study")
    assert summary(bench.database, "study").counts == {"complete": 6}


def test_a_killed_worker_costs_one_attempt_and_nothing_else(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.submit("study", "slow_descent", trials=3, epochs=20)
    victims: list[int] = []

    def in_the_middle() -> bool:
        curves = {
            number: len(point.curve)
            for study in bench.coordinator.studies.values()
            for number, point in study.points.items()
        }
        busy = [
            (worker["assignment"].split("-")[1], worker["pid"])
            for worker in bench.launcher.describe()
            if worker["assignment"]
        ]
        victims.extend(pid for number, pid in busy if 3 <= curves[int(number)] <= 10)
        return bool(victims)

    bench.run(in_the_middle)
    os.kill(victims[0], signal.SIGKILL)
    bench.finish("study")
    rows = bench.trials("study")
    assert [trial.state for trial in rows] == ["complete"] * 3
    assert sorted(trial.token for trial in rows) == [1, 1, 2]
    with bench.database.read() as s:
        [again] = [trial for trial in rows if trial.token == 2]
        first, second = trials.attempts(s, again.id)
    assert (first.cause, second.cause) == ("node_lost", None)
    assert second.resumed_from and second.resumed_from >= 1, "it began anew although there was a checkpoint"


def test_bad_trials_fail_with_their_cause_and_the_study_goes_on(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    kinds = ["raises", "exits", "nan", "inf", "-inf", "silent", "good"]
    space = {"kind": {"type": "choice", "options": kinds}}
    points = [{"kind": kind} for kind in kinds]
    bench.submit(
        "study", "sometimes_bad", space=space, trials=len(kinds), enqueue=points, max_failures=10, direction="maximize"
    )
    bench.finish("study")
    ends = {str(trial.params["kind"]): (trial.state, trial.cause, trial.token) for trial in bench.trials("study")}
    assert ends == {
        "raises": ("failed", "user_error", 1),
        "exits": ("failed", "node_lost", 2),
        "nan": ("failed", "non_finite", 1),
        "inf": ("failed", "non_finite", 1),
        "-inf": ("failed", "non_finite", 1),
        "silent": ("failed", "user_error", 1),
        "good": ("complete", None, 1),
    }
    best = summary(bench.database, "study").best
    assert best is not None and best.params == {"kind": "good"}


def test_too_many_failures_fail_the_study(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    space = {"kind": {"type": "choice", "options": ["raises", "nan"]}}
    bench.submit("study", "sometimes_bad", space=space, trials=30, max_failures=2)
    bench.finish("study")
    assert bench.state("study") == "failed"
    assert "may" in str(study_row(bench.database, "study").reason)
    assert len(bench.trials("study")) <= 8


@pytest.mark.parametrize(
    ("limit", "fewest", "most"),
    [({"target": 0.9}, 1, 4), ({"no_improvement": 3}, 4, 20), ({"total_epochs": 12}, 3, 5), ({"trials": 2}, 2, 2)],
)
def test_a_budget_ends_the_study(
    make_bench: Callable[..., Bench], limit: dict[str, Any], fewest: int, most: int
) -> None:
    bench = make_bench("inline")
    bench.submit("study", **{"trials": 40, **limit})
    bench.finish("study")
    assert bench.state("study") == "finished"
    assert fewest <= len(bench.trials("study")) <= most


def test_stop_lets_running_trials_finish(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinating, "BEAT_SECONDS", 0.1)
    bench = make_bench()
    bench.submit("study", "slow_descent", trials=40)
    bench.run(lambda: len(bench.trials("study")) == 2)
    with bench.database.write() as s:
        studies.request(s, study_row(bench.database, "study").id, "stopping")
    bench.finish("study")
    assert bench.state("study") == "stopped"
    assert {trial.state for trial in bench.trials("study")} == {"complete"}
    assert len(bench.trials("study")) < 10


def test_enqueued_points_come_first(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("inline")
    bench.submit("study", enqueue=[{"x": 0.25}, {"x": 0.5}])
    bench.finish("study")
    assert [trial.params["x"] for trial in bench.trials("study")][:2] == [0.25, 0.5]


def test_pruned_trials_have_a_decision_that_says_why(make_bench: Callable[..., Bench]) -> None:
    from tuner.reporting.explanations import trial_story

    bench = make_bench("inline")
    bench.submit("study", trials=12, epochs=9, pruner="asha")
    bench.finish("study")
    pruned = [trial.number for trial in bench.trials("study") if trial.state == "pruned"]
    assert pruned
    for number in pruned:
        last = trial_story(bench.database, "study", number).decisions[-1]
        assert last.action == "stop" and last.value is not None and last.threshold is not None
        assert last.value > last.threshold and last.rivals and last.reason
    assert {trial.trained for trial in trial_results(bench.database, "study")} == {
        "alone: its code owns its training loop"
    }


def test_a_coordinator_that_lost_its_study_writes_nothing_more(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinating, "LEASE_SECONDS", 0.5)
    frozen, other = make_bench(), make_bench()
    frozen.submit("study", "slow_descent", trials=4, epochs=10)
    frozen.run(lambda: summary(frozen.database, "study").epochs >= 2)
    time.sleep(0.7)  # the frozen one's lease ends; its workers train on
    monkeypatch.setattr(coordinating, "LEASE_SECONDS", 30.0)
    other.run(lambda: bool(other.coordinator.studies))
    before = [(trial.number, trial.token) for trial in other.trials("study")]
    for _ in range(20):
        frozen.coordinator.step()
        frozen.coordinator.wait(0.05)
    assert not frozen.coordinator.studies
    assert [(trial.number, trial.token) for trial in other.trials("study")] == before
    other.finish("study")
    assert summary(other.database, "study").counts == {"complete": 4}


def _begin_and_lose(bench: Bench) -> None:
    """Begin a study of one trial; another coordinator takes it, which this one has not heard of."""
    bench.submit("study", trials=1)
    bench.coordinator.step()
    study = study_row(bench.database, "study")
    with bench.database.write() as s:
        assert studies.release(s, study.id, bench.coordinator.owner, study.term)
        assert studies.claim(s, study.id, "elsewhere:1:other", 60.0)


def test_a_study_that_was_taken_is_not_ended_by_its_former_coordinator(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("inline")
    _begin_and_lose(bench)
    bench.run(lambda: not bench.coordinator.studies)
    assert (bench.state("study"), study_row(bench.database, "study").owner) == ("active", "elsewhere:1:other")


def test_a_study_that_was_taken_keeps_its_attempts_when_its_former_coordinator_ends(
    make_bench: Callable[..., Bench],
) -> None:
    """On a cluster the next coordinator goes on with the same attempts, under the same tokens."""
    bench = make_bench("inline")
    _begin_and_lose(bench)
    bench.coordinator.close()
    [trial] = bench.trials("study")
    assert (trial.state, trial.token) == ("running", 1)


def test_the_time_of_earlier_coordinators_counts(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("inline")
    bench.submit("study", trials=100, epochs=9, max_seconds=3600.0)
    bench.coordinator.step()
    bench.coordinator.close()
    assert 0.0 < study_row(bench.database, "study").active_seconds < 3600.0
    with bench.database.write() as s:
        s.execute(update(table(Study)).values(active_seconds=7200.0))
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.run(lambda: bench.state("study") == "finished")
    assert "3600 are the study's limit" in str(study_row(bench.database, "study").reason)
    assert summary(bench.database, "study").seconds >= 7200.0


def test_a_study_is_taken_up_when_it_is_seen(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the next renewal of leases: also by a coordinator that had nothing to do."""
    monkeypatch.setattr(coordinating, "BEAT_SECONDS", 3600.0)
    bench = make_bench("inline")
    bench.coordinator.step()
    for name in ("first", "second"):
        bench.submit(name, trials=1, epochs=1)
        bench.finish(name)


@pytest.mark.parametrize("committed", [True, False])
def test_a_transaction_whose_end_was_not_seen_is_written_again(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Every third transaction fails: after its commit, so that its rows are there already, or before it."""
    bench = make_bench("inline")
    bench.submit("study", trials=12, epochs=9, pruner="asha", sampler="tpe")
    write, count = bench.database.write, 0

    @contextmanager
    def unreliable() -> Iterator[Session]:
        nonlocal count
        count += 1
        with write() as s:
            yield s
            if count % 3 == 0 and not committed:
                raise DatabaseUnavailable("The connection is gone.")
        if count % 3 == 0:
            raise DatabaseUnavailable("The connection is gone.")

    monkeypatch.setattr(bench.database, "write", unreliable)
    failures = 0
    while bench.state("study") == "active":
        try:
            bench.coordinator.step()
        except DatabaseUnavailable:
            failures += 1
    assert failures > 5
    assert study_row(bench.database, "study").term == 1, "it was given up, and taken again after its lease"
    check_invariants(bench.database, "study", str(bench.settings.artifacts))
    ends = [(trial.params, trial.state, trial.value, trial.token) for trial in bench.trials("study")]
    monkeypatch.undo()
    bench.submit("calm", trials=12, epochs=9, pruner="asha", sampler="tpe")
    bench.finish("calm")
    assert ends == [(trial.params, trial.state, trial.value, trial.token) for trial in bench.trials("calm")]


def test_a_trial_that_no_worker_takes_is_queued_again(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    bench.submit("study", trials=3)
    start = bench.launcher.start
    refused: list[str] = []

    def refuse(assignment: Assignment) -> str:
        if not refused:
            refused.append(assignment.id)
            raise LauncherError("The cluster is away.")
        return start(assignment)

    monkeypatch.setattr(bench.launcher, "start", refuse)
    with pytest.raises(LauncherError, match="away"):
        bench.coordinator.step()
    bench.finish("study")
    assert summary(bench.database, "study").counts == {"complete": 3}
    assert [trial.token for trial in bench.trials("study")] == [2, 1, 1], "only the refused one begins again"


def test_trials_without_a_better_one_are_counted_alike_after_a_restart(make_bench: Callable[..., Bench]) -> None:
    """They are counted as they end: a late one with a low number is not an early one."""
    bench = make_bench("inline")
    bench.submit("study")
    study_id = study_row(bench.database, "study").id
    with bench.database.write() as s:
        held = [rows.held(s, study_id) for _ in range(4)]
    for number, value in ((3, 0.25), (0, 0.5), (2, 0.75)):
        with bench.database.write() as s:
            assert rows.end(s, held[number], "complete", value=value, best_epoch=1)
        time.sleep(0.002)  # the database's clock has milliseconds
    with bench.database.read() as s:
        study = ActiveStudy.load(s, studies.get(s, study_id), 1)
    assert (study.best, study.progress().trials_since_best) == ((3, 0.25), 2)


def test_a_study_whose_sampler_is_not_installed_is_refused(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench("inline")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InvalidStudy, match=r"needs cmaes, which is not installed"):
        bench.submit("evolved", sampler="cmaes")
    with bench.database.read() as s:
        assert studies.find(s, "evolved") is None


def test_the_same_submission_gives_one_study_and_another_is_refused_with_the_difference(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench("inline")
    bench.submit("study")
    bench.submit("study")
    with bench.database.read() as s:
        assert studies.names(s) == ["study"]
    with pytest.raises(StudyExists, match="`epochs` is 4 in the study 'study', and 5 was given"):
        bench.submit("study", epochs=5)


def test_closing_queues_what_runs_and_the_next_coordinator_goes_on_at_once(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.submit("study", "slow_descent", trials=2, epochs=20)
    bench.run(lambda: summary(bench.database, "study").epochs >= 3)
    bench.coordinator.close()
    assert {trial.state for trial in bench.trials("study")} == {"queued"}
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.finish("study")
    assert summary(bench.database, "study").counts == {"complete": 2}


def test_a_trial_is_judged_by_what_it_reported_also_when_answers_pile_up(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice ends before its rung, and the one that reaches the rung is heard before the first is looked at."""
    monkeypatch.setattr(assignments, "SLICE_SECONDS", 0.004)
    bench = make_bench("inline")
    bench.submit("study", "short_descent", trials=8, epochs=9, pruner="asha")
    at_work = bench.coordinator._assignments
    receive = at_work.receive
    monkeypatch.setattr(at_work, "receive", lambda seconds: [receive(seconds) for _ in range(3)])
    bench.finish("study")
    monkeypatch.undo()
    bench.submit("calm", trials=8, epochs=9, pruner="asha")
    bench.finish("calm")
    piled, calm = (
        [(trial.params, trial.state, trial.value) for trial in bench.trials(name)] for name in ("study", "calm")
    )
    assert piled == calm
