"""Trials whose code owns its loop, on a real worker: reports, stops, resumes, and every way to fail."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workers.contract import Assignment, Ended, Member, SliceResult, Trained, Training
from workers.worker import Worker, WorkerStuck

CODE = """
import json, math, os, random, sys, time
import numpy

def counting(run):
    total = run.state["total"] if run.state else 0
    for epoch in range(run.epoch, run.epochs):
        total += run.params.get("add", 1)
        run.report({"score": total, "draw": random.random() + numpy.random.random()}, state={"total": total})

def table(run):
    for value in run.params["values"]:
        run.report({"score": value})

def endless(run):
    while True:
        run.report({"score": 1.0})

def silent(run):
    time.sleep(run.params["seconds"])

def raises(run):
    run.report({"score": 1.0})
    raise RuntimeError("x" * run.params.get("length", 10))

def leaves(run):
    sys.exit(3)

def interrupts(run):
    raise KeyboardInterrupt

def memory(run):
    raise MemoryError("no more")

class ResourceExhaustedError(Exception):
    pass

def card(run):
    raise ResourceExhaustedError("OOM when allocating tensor")

class Unreadable(Exception):
    def __str__(self):
        raise ValueError("no text")

def unreadable(run):
    raise Unreadable()

def nothing(run):
    return None

def words(run):
    run.report({"score": "good"})

def other(run):
    run.report({"loss": 1.0})

def number(run):
    run.report(0.5)

def unsaveable(run):
    run.report({"score": 1.0}, state={"model": object()})
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Assignment]]:
    (tmp_path / "their_loops.py").write_text(CODE)

    def assignment(loop: str, *, members: int = 1, checkpoint: str | None = None, **changes: Any) -> Assignment:
        params = changes.pop("params", {})
        training = Training(
            **{
                "study": "loops",
                "model": f"their_loops:{loop}",
                "loop": True,
                "space": None,
                "data": None,
                "objective": "score",
                "direction": "maximize",
                "epochs": 5,
                "patience": None,
                "checkpoint_seconds": 0.0,
                "artifacts": str(tmp_path / "artifacts"),
                "import_paths": (str(tmp_path),),
                **changes,
            }
        )
        return Assignment("a", training, tuple(Member(n, n + 1, params, 7, checkpoint) for n in range(members)))

    before = list(sys.path)
    yield assignment
    sys.path[:] = before
    sys.modules.pop("their_loops", None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("w")
    yield worker
    worker.stop()


def finish(worker: Worker, assignment: Assignment) -> SliceResult:
    worker.start(assignment)
    return worker.advance(assignment.training.epochs, 10.0)


def failure(worker: Worker, assignment: Assignment) -> Ended:
    return finish(worker, assignment).ended[0]


def test_a_loop_runs_slice_by_slice(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("counting"))
    first = worker.advance(2, 10.0)
    assert [report.metrics["score"] for report in first.reports] == [1.0, 2.0]
    assert first.ended == ()
    assert first.trained == (Trained(0, 1, "alone: its code owns its training loop"),)
    assert worker.advance(2, 10.0).reports == ()
    last = worker.advance(5, 10.0)
    assert [report.epoch for report in last.reports] == [3, 4, 5]
    assert last.ended == (Ended(0, 1, None, best_epoch=5),)
    assert last.progress > first.progress
    assert last.rss_bytes > 1 << 20
    assert (last.assignment, last.worker) == ("a", "w")
    assert last.trained == ()
    for result in (first, last):
        assert SliceResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_what_was_not_acknowledged_is_said_again(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("counting"))
    first = worker.advance(1, 10.0)
    worker.advance(2, 10.0)
    third = worker.advance(3, 10.0, acknowledged=first.number)
    worker.repeat()  # the second and the third answer were lost with whoever got them
    worker.repeat()  # and so was who came next
    again = worker.advance(5, 10.0)
    assert [report.epoch for report in again.reports] == [2, 3, 4, 5]
    assert again.ended == (Ended(0, 1, None, best_epoch=5),)
    assert again.number == third.number + 1
    worker.repeat()
    assert worker.advance(5, 10.0).ended == again.ended, "the end of a trial is said again as well"
    worker.repeat()
    worker.start(make("counting"))
    anew = worker.advance(1, 10.0)
    assert (anew.number, [report.epoch for report in anew.reports]) == (1, [1])


def test_a_lost_loop_resumes_from_its_last_state(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("counting", params={"add": 3}))
    saved = worker.advance(3, 10.0).saved[-1]
    assert (saved.kind, saved.epoch) == ("checkpoint", 3)
    fresh = Worker("other")
    result = finish(fresh, make("counting", params={"add": 3}, checkpoint=saved.key))
    assert [(report.epoch, report.metrics["score"]) for report in result.reports] == [(4, 12.0), (5, 15.0)]


@pytest.mark.parametrize("file", ["state.json", "progress.json"])
@pytest.mark.parametrize("damage", [lambda text: b"", lambda text: text[:-2], lambda text: b"[" + text[1:]])
def test_a_damaged_checkpoint_costs_time_only(
    worker: Worker, make: Callable[..., Assignment], file: str, damage: Callable[[bytes], bytes], caplog: Any
) -> None:
    assignment = make("counting")
    worker.start(assignment)
    key = worker.advance(3, 10.0).saved[-1].key
    path = Path(assignment.training.artifacts) / key / file
    path.write_bytes(damage(path.read_bytes()))
    result = finish(worker, make("counting", checkpoint=key))
    assert [report.epoch for report in result.reports] == [1, 2, 3, 4, 5]
    assert "training starts at epoch 0" in caplog.text


def test_a_checkpoint_that_is_gone_is_no_error(worker: Worker, make: Callable[..., Assignment]) -> None:
    result = finish(worker, make("counting", checkpoint="loops/trial-000000/attempt-9/epoch-0002"))
    assert len(result.reports) == 5


def test_the_same_seed_draws_the_same_numbers(worker: Worker, make: Callable[..., Assignment]) -> None:
    runs = [[report.metrics["draw"] for report in finish(worker, make("counting")).reports] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 5


def test_patience_ends_a_loop_and_keeps_its_best_state(worker: Worker, make: Callable[..., Assignment]) -> None:
    assignment = make("table", params={"values": [1.0, 5.0, 4.0, 4.0, 9.0]}, patience=2)
    result = finish(worker, assignment)
    assert len(result.reports) == 4
    assert result.ended == (Ended(0, 1, None, best_epoch=2),)


def test_the_best_state_is_the_model(worker: Worker, make: Callable[..., Assignment]) -> None:
    assignment = make("counting", direction="minimize", params={"add": 1})
    model = [saved for saved in finish(worker, assignment).saved if saved.kind == "model"]
    assert [saved.epoch for saved in model] == [1]
    state = Path(assignment.training.artifacts) / model[0].key / "state.json"
    assert json.loads(state.read_text()) == {"total": 1}


def test_a_loop_that_ignores_its_epochs_is_ended_at_its_budget(worker: Worker, make: Callable[..., Assignment]) -> None:
    result = finish(worker, make("endless"))
    assert len(result.reports) == 5
    assert result.ended[0].cause is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_reported_and_ends_the_trial(
    worker: Worker, make: Callable[..., Assignment], value: float
) -> None:
    result = finish(worker, make("table", params={"values": [1.0, value, 2.0]}))
    assert len(result.reports) == 2
    assert not math.isfinite(result.reports[1].metrics["score"])
    assert result.ended[0].cause == "non_finite"
    assert "score was" in result.ended[0].message


@pytest.mark.parametrize(
    ("loop", "cause", "expected"),
    [
        ("raises", "user_error", "RuntimeError (their_loops.py, line 24): xxxxxxxxxx"),
        ("leaves", "user_error", "sys.exit(3)"),
        ("interrupts", "user_error", "KeyboardInterrupt"),
        ("memory", "oom", "no more"),
        ("card", "oom", "OOM when allocating"),
        ("unreadable", "user_error", "its text cannot be read"),
        ("nothing", "user_error", "returned without a report"),
        ("words", "user_error", "'good', which is not a number"),
        ("other", "user_error", "The objective 'score' is not among the metrics of epoch 1: loss"),
        ("number", "user_error", "expects a dictionary of metrics"),
        ("unsaveable", "user_error", "expects JSON"),
        ("missing", "user_error", "no 'missing'"),
    ],
)
def test_whatever_user_code_raises_becomes_a_cause_and_a_sentence(
    worker: Worker, make: Callable[..., Assignment], loop: str, cause: str, expected: str
) -> None:
    ended = failure(worker, make(loop))
    assert ended.cause == cause
    assert expected in ended.message
    assert ended.best_epoch is None
    again = finish(worker, make("counting"))
    assert again.ended[0].cause is None  # the worker lives on


def test_a_huge_message_is_cut_and_the_traceback_kept(worker: Worker, make: Callable[..., Assignment]) -> None:
    ended = failure(worker, make("raises", params={"length": 50_000_000}))
    assert len(ended.message) < 3_000
    assert len(ended.log.encode()) <= 64 * 1024
    assert "their_loops.py" in ended.log


def test_an_artifact_that_cannot_be_written_is_a_storage_failure(
    worker: Worker, make: Callable[..., Assignment], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = failure(worker, make("counting", artifacts=str(tmp_path / "file")))
    assert ended.cause == "storage"


def test_members_of_an_assignment_advance_together(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("counting", members=3))
    first = worker.advance(2, 10.0)
    assert sorted((report.trial, report.token, report.epoch) for report in first.reports) == [
        (trial, trial + 1, epoch) for trial in range(3) for epoch in (1, 2)
    ]
    last = worker.advance(5, 10.0, drop=(1,))
    assert {report.trial for report in last.reports} == {0, 2}
    assert {ended.trial for ended in last.ended} == {0, 2}
    assert worker.trials == 3


def test_dropping_the_only_member_answers_at_once(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("endless", epochs=10**9))
    worker.advance(3, 10.0)
    began = time.monotonic()
    result = worker.advance(10**9, 60.0, drop=(0,))
    assert time.monotonic() - began < 30.0
    assert (result.reports, result.ended) == ((), ())
    assert finish(worker, make("counting")).ended[0].cause is None


def test_a_new_assignment_ends_the_old_one(worker: Worker, make: Callable[..., Assignment]) -> None:
    worker.start(make("endless", epochs=10**9))
    assert worker.advance(10**9, 0.05).ended == ()
    assert len(finish(worker, make("counting")).reports) == 5


def test_code_that_never_comes_back_is_said_not_waited_for(make: Callable[..., Assignment]) -> None:
    worker = Worker("w")
    worker.start(make("silent", params={"seconds": 3.0}))
    result = worker.advance(1, 0.05)
    assert (result.reports, result.progress) == ((), 0)
    began = time.monotonic()
    with pytest.raises(WorkerStuck, match="has to be replaced"):
        worker.stop(seconds=0.2)
    assert time.monotonic() - began < 2.5
    time.sleep(3.0)
    worker.stop()


def test_advancing_without_an_assignment_is_a_mistake(worker: Worker) -> None:
    with pytest.raises(ValueError, match="Call start"):
        worker.advance(1, 0.0)


def test_no_tensorflow_for_a_loop_that_has_none(make: Callable[..., Assignment]) -> None:
    import subprocess

    code = (
        "import sys, json\nfrom workers.contract import Assignment\nfrom workers.worker import Worker\n"
        "w = Worker('w'); w.start(Assignment.from_json(json.load(sys.stdin)))\n"
        "assert w.advance(5, 10.0).ended[0].cause is None\n"
        "heavy = {'tensorflow', 'keras', 'keras_tuner', 'ray', 'optuna', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(make("counting").to_json()),
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )


def test_a_dry_run_of_a_loop_looks_at_its_name_only(worker: Worker, make: Callable[..., Assignment]) -> None:
    assert worker.check(make("counting").training).problems == ()
    assert "no 'missing'" in worker.check(make("missing").training).problems[0]
    assert "expected a function" in worker.check(make("Unreadable").training).problems[0]
    assert "function of one argument" in worker.check(make("json.dump").training).problems[0]
