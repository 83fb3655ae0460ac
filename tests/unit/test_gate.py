"""The gate between two epochs: who waits, who goes on, and what is heard of a trial that was dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from workers.contract import Member, Saved
from workers.trials.gate import Events, Gate, Lane, TrialStopped


def epochs(lane: Lane, count: int, each: Callable[[], None] = lambda: None) -> None:
    """A trial of `count` epochs, as its thread runs it."""
    try:
        lane.begin()
        for epoch in range(1, count + 1):
            each()
            lane.batch()
            lane.report(epoch, {"loss": 1.0 / epoch}, 0.0)
            if epoch < count:
                lane.arrive(epoch)
        lane.end(best_epoch=count)
    except TrialStopped:
        pass
    finally:
        lane.leave()


@contextmanager
def running(gate: Gate, count: int, each: Callable[[], None] = lambda: None) -> Iterator[list[threading.Thread]]:
    threads = [threading.Thread(target=epochs, args=(lane, count, each), daemon=True) for lane in gate.lanes]
    for thread in threads:
        thread.start()
    yield threads
    gate.drop([lane.member.trial for lane in gate.lanes])
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_trial_waits_at_the_epoch_to_which_the_gate_is_open() -> None:
    gate = Gate([Member(7, 3, {}, 0)])
    with running(gate, 10):
        gate.open(3)
        assert gate.wait(5)
        time.sleep(0.05)
        events = gate.take()
        assert [report.epoch for report in events.reports] == [1, 2, 3]
        assert {(report.trial, report.token) for report in events.reports} == {(7, 3)}
        gate.open(2)  # lower than before: nothing changes
        assert gate.wait(5)
        assert gate.take().reports == []


def test_the_last_epoch_ends_the_trial_in_the_same_slice() -> None:
    gate = Gate([Member(0, 1, {}, 0)])
    with running(gate, 4):
        gate.open(4)
        assert gate.wait(5)
        events = gate.take()
        assert len(events.reports) == 4
        assert [(ended.cause, ended.best_epoch) for ended in events.ended] == [(None, 4)]
        assert gate.progress == 4


def test_waiting_gives_up_after_its_time_while_training_goes_on() -> None:
    gate = Gate([Member(0, 1, {}, 0)])
    with running(gate, 2, lambda: time.sleep(2)):
        gate.open(2)
        began = time.monotonic()
        assert not gate.wait(0.05)
        assert time.monotonic() - began < 2.0
        assert gate.wait(60)
        assert len(gate.take().ended) == 1


def test_members_take_turns_and_all_reach_the_epoch() -> None:
    training: list[int] = []
    most = []

    def each() -> None:
        training.append(1)
        most.append(len(training))
        time.sleep(0.001)
        training.pop()

    gate = Gate([Member(number, 1, {}, 0) for number in range(5)])
    with running(gate, 6, each):
        for until in (2, 4, 6):
            gate.open(until)
            assert gate.wait(5)
            reports = gate.take().reports
            assert sorted((report.trial, report.epoch) for report in reports) == [
                (trial, epoch) for trial in range(5) for epoch in (until - 1, until)
            ]
    assert max(most) == 1


def test_nothing_is_heard_of_a_dropped_trial_and_the_others_go_on() -> None:
    gate = Gate([Member(0, 1, {}, 0), Member(1, 1, {}, 0)])
    with running(gate, 6):
        gate.open(2)
        assert gate.wait(5)
        gate.drop([0])
        gate.open(6)
        assert gate.wait(5)
        events = gate.take()
        assert {report.trial for report in events.reports} == {1}
        assert [ended.trial for ended in events.ended] == [1]
        assert not gate.busy


def test_a_stop_is_felt_within_a_batch() -> None:
    gate = Gate([Member(0, 1, {}, 0)])
    lane = gate.lanes[0]
    lane.begin()
    lane.batch(5)
    gate.drop([0])
    assert gate.wait(0)  # over for the coordinator, although its thread has not left yet
    with pytest.raises(TrialStopped):
        lane.batch()
    lane.report(1, {}, 0.0)
    lane.saved(Saved(0, 1, "checkpoint", 1, "key", "sum", 1))
    lane.end("user_error", "late")
    events = gate.take()
    assert (events.reports, events.saved, events.ended) == ([], [], [])


def test_a_trial_cannot_swallow_its_stop_with_an_ordinary_except() -> None:
    gate = Gate([Member(0, 1, {}, 0)])
    gate.drop([0])

    def careless() -> None:
        try:
            gate.lanes[0].arrive(1)
        except Exception:
            pytest.fail("a stop must pass through `except Exception`")

    with pytest.raises(TrialStopped):
        careless()


def test_building_may_begin_before_the_first_slice() -> None:
    gate = Gate([Member(0, 1, {}, 0)])
    gate.lanes[0].begin()
    assert not gate.wait(0)  # it has not said yet where it stands
    gate.open(0)
    waiting = threading.Thread(target=lambda: gate.lanes[0].arrive(0), daemon=True)
    waiting.start()
    assert gate.wait(5)
    gate.open(1)
    waiting.join(5)
    assert not waiting.is_alive()


def test_trials_that_are_saved_to_be_stopped_finish_their_epoch_and_wait_for_nothing_but_the_end() -> None:
    """One trains, one has not begun: that one waits at once."""
    gate = Gate([Member(0, 1, {}, 0), Member(1, 1, {}, 0)])
    inside, go_on = threading.Event(), threading.Event()

    def each() -> None:
        inside.set()
        go_on.wait(5)

    with running(gate, 100, each):
        gate.open(50)
        assert inside.wait(5)
        gate.save()
        assert not gate.held
        go_on.set()
        assert gate.wait(5)
        assert gate.held
        gate.open(80)
        assert gate.wait(0.05)
        assert len(gate.take().reports) == 1


def test_what_is_left_of_events_says_as_before_whether_all_is_saved() -> None:
    assert Events(held=True).without({1}).held
