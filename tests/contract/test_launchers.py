"""The contract of launchers, held by every implementation."""

from __future__ import annotations

import math
import os
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands import gone
from tuner.configuration import Settings
from tuner.payload.user_code import place
from workers import user_code
from workers.contract import Assignment, Launcher, LauncherError, Lost, Report, Resources, SliceResult, Training
from workers.launchers import launcher
from workers.launchers.inline import InlineLauncher

MakeAssignment = Callable[..., Assignment]


@pytest.fixture(scope="module", params=["inline", "processes", pytest.param("ray", marks=pytest.mark.ray)])
def opened(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_launcher")
        return
    options = {"processes": {"workers": 2, "hang_seconds": 5.0}}
    it = launcher(request.param, **options.get(request.param, {}))
    yield it
    it.close()


@pytest.fixture
def workers(opened: Launcher) -> Iterator[Launcher]:
    """A launcher with nothing running, before and after."""
    yield opened
    for worker in opened.describe():
        if worker["assignment"]:
            opened.stop(worker["assignment"])
    wait_for(lambda: opened.room(Resources()) == (1 if isinstance(opened, InlineLauncher) else 2))


@pytest.fixture
def isolated(workers: Launcher) -> Launcher:
    """A launcher whose trials cannot harm this process."""
    if isinstance(workers, InlineLauncher):
        pytest.skip("Nothing protects this process from an inline trial.")
    return workers


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Ray says a little later that the core of a worker that ended is free again."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.02)


def answer(workers: Launcher, seconds: float = 60.0) -> SliceResult | Lost:
    """The next answer of the only assignment that runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for item in workers.poll(0.5):
            return item
    pytest.fail(f"No answer within {seconds} s.")


def advance(workers: Launcher, assignment: Assignment, until: int, seconds: float = 1.0, **kw: Any) -> SliceResult:
    workers.advance(assignment.id, until, seconds, **kw)
    result = answer(workers)
    assert isinstance(result, SliceResult), result
    return result


def run(workers: Launcher, assignment: Assignment, until: int = 100) -> tuple[list[Report], SliceResult]:
    """Train to the end; all reports, and the last slice."""
    workers.start(assignment)
    reports: list[Report] = []
    while True:
        result = advance(workers, assignment, until)
        reports += result.reports
        if len(result.ended) == len(assignment.members):
            return reports, result


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


class TestLauncher:
    def test_a_trial_from_its_start_to_its_end(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("exact", epochs=10)
        reports, last = run(workers, assignment)
        assert [report.epoch for report in reports] == list(range(1, 11))
        assert [report.metrics["score"] for report in reports] == [float(epoch) for epoch in range(10)]
        odd = [0.1, 1 / 3, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 2**53 + 1.0]
        assert [bits(report.metrics["odd"]) for report in reports] == [bits(number) for number in odd]
        member = assignment.members[0]
        assert {(report.trial, report.token) for report in reports} == {(member.trial, member.token)}
        assert last.ended[0].cause is None
        assert last.rss_bytes > 1_000_000
        assert workers.room(Resources()) >= 1

    def test_nothing_happens_beyond_the_open_epoch(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("counting", epochs=9)
        workers.start(assignment)
        for until in (2, 3, 7):
            result = advance(workers, assignment, until)
            assert result.reports[-1].epoch == until
            assert not result.ended
        time.sleep(0.1)
        assert advance(workers, assignment, 7).reports == ()

    def test_a_slice_answers_in_its_time(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("counting", epochs=50, seconds=0.2)
        workers.start(assignment)
        advance(workers, assignment, 1, 5.0)
        began = time.monotonic()
        result = advance(workers, assignment, 50, 0.5)
        assert 0.3 < time.monotonic() - began < 8.0, "All epochs would take 10 s."
        assert len(result.reports) < 40

    def test_poll_without_a_question_answers_at_once(self, workers: Launcher) -> None:
        began = time.monotonic()
        assert workers.poll(60.0) == []
        assert time.monotonic() - began < 30.0

    def test_a_dropped_trial_is_not_heard_again(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("counting", epochs=6, members=3)
        dropped, *kept = [member.trial for member in assignment.members]
        workers.start(assignment)
        first = advance(workers, assignment, 2, 5.0)
        assert {report.trial for report in first.reports} == {dropped, *kept}
        heard, over = [], set[int]()
        result = advance(workers, assignment, 4, 5.0, drop=[dropped])
        while True:
            heard += [report.trial for report in result.reports]
            over |= {ended.trial for ended in result.ended}
            if over >= set(kept):
                break
            result = advance(workers, assignment, 6, 5.0)
        assert over == set(kept)
        assert dropped not in heard
        assert workers.room(Resources()) >= 1

    def test_trials_that_are_saved_to_be_stopped_wait_at_the_end_of_their_epoch(
        self, workers: Launcher, make_assignment: MakeAssignment
    ) -> None:
        assignment = make_assignment("counting", epochs=500, members=2, seconds=0.05)
        seldom = replace(assignment, training=replace(assignment.training, checkpoint_seconds=1000.0))
        workers.start(seldom)
        result = advance(workers, seldom, 500, 0.3)
        reports, saved = list(result.reports), list(result.saved)
        assert not result.held and not saved
        while not result.held:
            result = advance(workers, seldom, 500, 20.0, save=True)
            reports += result.reports
            saved += result.saved
        reached = {report.trial: report.epoch for report in reports}
        assert {item.trial: item.epoch for item in saved} == reached, "one trains on, or was not saved where it stands"
        assert advance(workers, seldom, 500, 0.2, save=True).reports == ()
        workers.stop(seldom.id)

    def test_dropping_all_trials_frees_the_worker(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        room = workers.room(Resources())
        assignment = make_assignment("counting", epochs=6)
        workers.start(assignment)
        advance(workers, assignment, 2)
        advance(workers, assignment, 4, drop=[assignment.members[0].trial])
        assert workers.room(Resources()) == room

    def test_stop_frees_the_worker(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        room = workers.room(Resources())
        assignment = make_assignment("counting", epochs=500, seconds=0.01)
        name = workers.start(assignment)
        assert workers.room(Resources()) == room - 1
        advance(workers, assignment, 2)
        workers.advance(assignment.id, 500, 0.3)
        workers.stop(assignment.id)
        workers.stop("never heard of")
        wait_for(lambda: workers.room(Resources()) == room)
        assert workers.poll(0.5) == []
        assert name in [worker["name"] for worker in workers.describe()], "The worker stays warm."
        assert run(workers, make_assignment("counting"))[1].ended[0].cause is None

    def test_an_assignment_stopped_before_its_first_slice(
        self, workers: Launcher, make_assignment: MakeAssignment
    ) -> None:
        room = workers.room(Resources())
        assignment = make_assignment("counting")
        workers.start(assignment)
        workers.stop(assignment.id)
        assert workers.room(Resources()) == room

    def test_room_beside_what_will_be_started_first(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        run(workers, make_assignment("counting"))  # leaves an idle worker, which is of use once
        wait_for(lambda: workers.room(Resources()) == (1 if isinstance(workers, InlineLauncher) else 2))
        room, half = workers.room(Resources()), Resources(cpus=0.5)
        for first, then in ((half, Resources()), (Resources(), half), (half, half), (Resources(), Resources())):
            assert workers.room(then, [first]) == room - 1
            assert workers.room(then, [first] * room) == 0

    def test_workers_train_side_by_side(self, isolated: Launcher, make_assignment: MakeAssignment) -> None:
        assert isolated.room(Resources()) == 2
        pair = [make_assignment("counting", epochs=3, seconds=0.1) for _ in range(2)]
        assert len({isolated.start(assignment) for assignment in pair}) == 2
        assert isolated.room(Resources()) == 0
        for assignment in pair:
            isolated.advance(assignment.id, 3, 20.0)
        results: list[SliceResult | Lost] = []
        wait_for(lambda: len(results.__iadd__(isolated.poll(1.0))) == 2)
        assert {result.assignment for result in results} == {assignment.id for assignment in pair}
        assert len({result.worker for result in results}) == 2
        assert isolated.room(Resources()) == 2

    def test_an_error_of_the_user(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        reports, last = run(workers, make_assignment("raising", luck=13))
        assert len(reports) == 1
        assert last.ended[0].cause == "user_error"
        assert "no luck with 13" in last.ended[0].message
        assert "launcher_loops.py" in last.ended[0].log
        assert run(workers, make_assignment("counting"))[1].ended[0].cause is None

    def test_a_trial_resumes_from_its_checkpoint(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        first = make_assignment("counting", epochs=6)
        workers.start(first)
        result = advance(workers, first, 3)
        saved = [item for item in result.saved if item.kind == "checkpoint"]
        assert saved[-1].epoch == 3
        workers.stop(first.id)
        wait_for(lambda: workers.room(Resources()) >= 1)
        second = make_assignment("counting", epochs=6, checkpoint=saved[-1].key)
        reports, last = run(workers, second)
        assert [(report.epoch, report.metrics["score"]) for report in reports] == [(4, 4.0), (5, 5.0), (6, 6.0)]
        assert last.ended[0].cause is None

    def test_misuse_is_refused_in_a_sentence(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        with pytest.raises(LauncherError, match="No worker holds"):
            workers.advance("nobody", 1, 1.0)
        running = []
        while workers.room(Resources()):
            running.append(make_assignment("counting", epochs=500))
            workers.start(running[-1])
        with pytest.raises(LauncherError, match="room"):
            workers.start(make_assignment("counting"))
        workers.advance(running[0].id, 1, 1.0)
        with pytest.raises(LauncherError, match="outstanding"):
            workers.advance(running[0].id, 2, 1.0)

    def test_what_never_fits_is_said(self, workers: Launcher) -> None:
        assert workers.fits(Resources()) is None
        assert "100000 CPUs" in (workers.fits(Resources(cpus=100_000.0)) or "")
        assert "64 GPUs" in (workers.fits(Resources(gpus=64.0)) or "")
        assert workers.room(Resources(cpus=100_000.0)) == 0

    @pytest.mark.parametrize("loop", ["exiting", "killed"])
    def test_a_lost_worker_is_reported_once_and_replaced(
        self, isolated: Launcher, make_assignment: MakeAssignment, loop: str
    ) -> None:
        assignment = make_assignment(loop)
        name = isolated.start(assignment)
        advance(isolated, assignment, 1, 20.0)
        isolated.advance(assignment.id, 10, 20.0)
        lost = answer(isolated, 15.0)  # sooner than the slice of 20 s would have been answered
        assert isinstance(lost, Lost)
        assert (lost.assignment, lost.worker, lost.cause) == (assignment.id, name, "node_lost")
        ending = {"exiting": "exit code 0|unexpectedly", "killed": "SIGKILL|unexpectedly"}[loop]  # Ray knows no more
        assert re.search(ending, lost.message)
        if loop == "exiting":
            assert "about to leave" in lost.log
        assert isolated.poll(0.2) == []
        wait_for(lambda: isolated.room(Resources()) == 2)
        assert run(isolated, make_assignment("counting"))[1].ended[0].cause is None

    def test_a_worker_killed_between_slices(self, isolated: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("counting", epochs=50)
        isolated.start(assignment)
        advance(isolated, assignment, 1, 20.0)
        [pid] = [worker["pid"] for worker in isolated.describe() if worker["assignment"] == assignment.id]
        os.kill(pid, signal.SIGKILL)
        isolated.advance(assignment.id, 50, 1.0)
        lost = answer(isolated)
        assert isinstance(lost, Lost)
        assert lost.cause == "node_lost"

    def test_code_that_never_ends_can_be_stopped(self, isolated: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("endless")
        isolated.start(assignment)
        advance(isolated, assignment, 1, 20.0)
        result = advance(isolated, assignment, 10, 0.3)
        assert not result.reports
        isolated.stop(assignment.id)
        wait_for(lambda: isolated.room(Resources()) == 2)
        assert isolated.poll(0.2) == []

    def test_a_frozen_worker_is_lost_as_a_hang(self, isolated: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("frozen")
        isolated.start(assignment)
        advance(isolated, assignment, 1, 20.0)
        [pid] = [worker["pid"] for worker in isolated.describe() if worker["assignment"] == assignment.id]
        isolated.advance(assignment.id, 10, 0.5)
        lost = answer(isolated)
        assert isinstance(lost, Lost)
        assert lost.cause == "hang"
        wait_for(lambda: gone(pid))
        assert run(isolated, make_assignment("counting"))[1].ended[0].cause is None

    def test_the_dry_run_of_a_loop(self, workers: Launcher, make_training: Callable[..., Training]) -> None:
        assert workers.check(make_training("counting")).problems == ()
        [problem] = workers.check(make_training("countng")).problems
        assert "counting" in problem

    def test_a_dry_run_that_ends_its_worker_is_a_problem(
        self, isolated: Launcher, make_training: Callable[..., Training], tmp_path: Path
    ) -> None:
        (tmp_path / "ends_at_import.py").write_text("import os\nos._exit(0)\n")
        training = make_training("exiting", model="ends_at_import:train", import_paths=(str(tmp_path),))
        [problem] = isolated.check(training).problems
        assert re.search("exit code 0|unexpectedly", problem)
        wait_for(lambda: isolated.room(Resources()) == 2)

    def test_workers_are_described(self, workers: Launcher, make_assignment: MakeAssignment) -> None:
        assignment = make_assignment("counting", epochs=500)
        name = workers.start(assignment)
        advance(workers, assignment, 1, 20.0)
        [mine] = [worker for worker in workers.describe() if worker["assignment"] == assignment.id]
        assert mine["name"] == name
        assert psutil.pid_exists(mine["pid"])
        assert mine["rss_bytes"] > 1_000_000
        assert mine["trials"] >= 0


def test_two_versions_of_a_module_are_each_their_studys_own(
    workers: Launcher, make_assignment: MakeAssignment, tmp_path: Path
) -> None:
    """A worker is given one after the other, and keeps running: as folders, and as packages of one folder."""
    studies = {}
    for version in (1.0, 2.0):
        (tmp_path / f"{version}").mkdir()
        for folder in (tmp_path / f"{version}", tmp_path):
            (folder / "same_name.py").write_text(f"def train(run):\n    run.report({{'score': {version}}})\n")
        packed = place(user_code.pack([str(tmp_path)]), Settings.load({}, home=tmp_path / "home"))
        studies[version] = ((str(tmp_path / f"{version}"),), packed)
    for paths, version in [(studies[version][kind], version) for kind in (0, 1, 0) for version in (1.0, 2.0, 1.0)]:
        assignment = make_assignment("counting", epochs=1)
        training = replace(assignment.training, model="same_name:train", import_paths=paths)
        reports, _ = run(workers, replace(assignment, training=training))
        assert [report.metrics for report in reports] == [{"score": version}]
    assignment = make_assignment("counting", epochs=1)
    lacking = replace(assignment.training, import_paths=(f"{tmp_path}/gone/{user_code.ARCHIVE}/work",))
    _, last = run(workers, replace(assignment, training=lacking))
    assert (last.ended[0].cause, "cannot be read" in last.ended[0].message) == ("storage", True)


def test_code_that_waits_for_ever_is_lost_as_a_hang_although_its_worker_answers(
    isolated: Launcher, make_assignment: MakeAssignment
) -> None:
    assignment = make_assignment("waiting")
    isolated.start(assignment)
    said: SliceResult | Lost = advance(isolated, assignment, 1, 20.0)
    end = time.monotonic() + 60
    while not isinstance(said, Lost):
        assert time.monotonic() < end
        isolated.advance(assignment.id, 10, 0.5)
        said = answer(isolated)
    assert (said.cause, "without a batch" in said.message) == ("hang", True)


def test_an_epoch_that_computes_for_long_is_not_lost(isolated: Launcher, make_assignment: MakeAssignment) -> None:
    """Five seconds without work are a hang in these launchers."""
    reports, _ = run(isolated, make_assignment("computing", epochs=2, seconds=8.0))
    assert len(reports) == 2


def test_data_that_is_long_in_coming_is_waited_for(isolated: Launcher, make_assignment: MakeAssignment) -> None:
    """Five seconds without work are a hang in these launchers, but for those before the first batch."""
    reports, _ = run(isolated, make_assignment("loading", epochs=1, seconds=8.0))
    assert len(reports) == 1
