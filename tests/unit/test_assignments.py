"""What a coordinator asks of workers whose answers it has heard and not looked at yet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuner.configuration import Settings
from tuner.coordination.assignments import Assignments
from tuner.coordination.collecting import Running
from tuner.coordination.tried import Attempt
from workers.contract import Ended, LauncherError, Lost, SliceResult


class Pool:
    """A launcher with prepared answers. Who asks a worker that it lost is refused, as by the real ones."""

    def __init__(self, answers: list[SliceResult | Lost]) -> None:
        self._answers = answers
        self._lost = {answer.assignment for answer in answers if isinstance(answer, Lost)}
        self.asked: list[str] = []

    def poll(self, seconds: float) -> list[SliceResult | Lost]:
        return self._answers

    def advance(self, assignment: str, *_: Any) -> None:
        if assignment in self._lost:
            raise LauncherError(f"No worker holds the assignment {assignment!r}.")
        self.asked.append(assignment)


@pytest.mark.parametrize("lost_first", [False, True])
def test_a_worker_that_answered_and_was_lost_at_once_is_not_asked(tmp_path: Path, lost_first: bool) -> None:
    lost = Lost("one", "worker", "node_lost", "It was killed.", "")
    answers: list[SliceResult | Lost] = [
        SliceResult("one", "worker", (), (), ()),
        lost,
        SliceResult("two", "worker", (), (), ()),
    ]
    pool: Any = Pool(answers[1::-1] + answers[2:] if lost_first else answers)
    assignments = Assignments(pool, Settings.load({}, home=tmp_path))
    at_work: Any = SimpleNamespace(goes_on=lambda _: True, dropped=set(), leaves=None, until=3, acknowledged=0)
    assignments._running = {"one": at_work, "two": at_work}
    assignments.receive(0.0)
    assert pool.asked == ["two"]


def test_a_worker_that_ended_its_trials_in_two_answers_is_not_asked(tmp_path: Path) -> None:
    """The second one is heard before the first one was looked at; to the launcher the assignment is over by then."""
    first, second = (SliceResult("one", "worker", ended=(Ended(trial, 1),)) for trial in (0, 1))
    pool: Any = Pool([first])
    assignments = Assignments(pool, Settings.load({}, home=tmp_path))
    study: Any = SimpleNamespace(definition=SimpleNamespace(epochs=9))
    attempts = {number: Attempt(10 + number, number, 1, 0) for number in (0, 1)}
    assignments._running = {"one": Running(study, attempts, 9)}
    assignments.receive(0.0)
    pool._answers = [second]
    assignments.receive(0.0)
    assert pool.asked == ["one"]
