"""What only child processes promise: replacement, and that nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.commands import gone
from workers.contract import Assignment, Lost, Resources, SliceResult
from workers.launchers.processes import ProcessLauncher

MakeAssignment = Callable[..., Assignment]


def finish(workers: ProcessLauncher, assignment: Assignment) -> str:
    name = workers.start(assignment)
    workers.advance(assignment.id, 1, 20.0)
    results = workers.poll(20.0)
    assert isinstance(results[0], SliceResult)
    assert results[0].ended
    return name


def test_a_worker_is_replaced_between_assignments(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=1, trials=3)
    try:
        names = [finish(workers, make_assignment("counting", epochs=1)) for _ in range(7)]
    finally:
        workers.close()
    assert [names.count(name) for name in dict.fromkeys(names)] == [3, 3, 1]


def test_a_worker_whose_memory_has_grown_is_replaced(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=1, growth=0.5, memory=1)
    try:
        names = [finish(workers, make_assignment("counting", epochs=1)) for _ in range(3)]
    finally:
        workers.close()
    assert len(set(names)) == 3


def test_an_idle_worker_of_another_shape_gives_way(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=1)
    try:
        half = Resources(cpus=0.5)
        first = finish(workers, make_assignment("counting", epochs=1))
        assert workers.room(half) == 1
        assert finish(workers, make_assignment("counting", epochs=1, resources=half)) != first
        assert len(workers.describe()) == 1
    finally:
        workers.close()


def test_a_worker_whose_last_answer_was_not_read_begins_nothing_else(make_assignment: MakeAssignment) -> None:
    """It would forget that answer, which a coordinator that ends now could not have heard."""
    workers = ProcessLauncher(workers=1)
    try:
        assignment = make_assignment("counting", epochs=1)
        workers.start(assignment)
        workers.advance(assignment.id, 1, 20.0)
        while workers.describe()[0]["assignment"]:
            assert workers.room(Resources()) == 0
            time.sleep(0.01)
        assert workers.room(Resources()) == 0
        [result] = workers.poll(0.0)
        assert isinstance(result, SliceResult)
        assert result.ended
        assert workers.room(Resources()) == 1
    finally:
        workers.close()


def test_an_idle_worker_that_died_costs_no_trial(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=1)
    try:
        finish(workers, make_assignment("counting", epochs=1))
        process = psutil.Process(workers.describe()[0]["pid"])
        process.kill()
        process.wait(5)
        assert workers.room(Resources()) == 1
        finish(workers, make_assignment("counting", epochs=1))
    finally:
        workers.close()


def test_data_that_never_comes_is_a_hang(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=1, load_seconds=1.0)
    assignment = make_assignment("loading", seconds=1e6)
    end = time.monotonic() + 60
    said: list[SliceResult | Lost] = []
    try:
        workers.start(assignment)
        while not any(isinstance(item, Lost) for item in said):
            assert time.monotonic() < end
            workers.advance(assignment.id, 1, 0.5)
            said = workers.poll(20.0)
    finally:
        workers.close()
    [lost] = said
    assert isinstance(lost, Lost)
    assert (lost.cause, "waits for something" in lost.message) == ("hang", True)


def test_close_leaves_nothing(make_assignment: MakeAssignment) -> None:
    workers = ProcessLauncher(workers=2)
    finish(workers, make_assignment("counting", epochs=1))
    running = make_assignment("endless")
    workers.start(running)
    workers.advance(running.id, 1, 20.0)
    workers.poll(20.0)
    processes = [psutil.Process(worker["pid"]) for worker in workers.describe()]
    assert processes
    workers.close()
    workers.close()
    assert not any(process.is_running() for process in processes)
    assert workers.describe() == []


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    folder = Path(__file__).parent
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            sys.path.insert(0, {str(folder.parents[1])!r})
            from workers.contract import Assignment, Member, Training
            from workers.launchers.processes import ProcessLauncher
            training = Training(study="s", model="launcher_loops:endless", loop=True, space=None, data=None,
                objective="score", direction="maximize", epochs=9, patience=None, checkpoint_seconds=9.0,
                artifacts={str(tmp_path / "artifacts")!r}, import_paths=({str(folder)!r},))
            workers = ProcessLauncher(workers=1)
            workers.start(Assignment("a", training, (Member(0, 1, {{}}, 1),)))
            workers.advance("a", 1, 20.0)
            workers.poll(20.0)
            workers.advance("a", 9, 60.0)
            print(workers.describe()[0]["pid"], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    end = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < end, "The worker outlived its parent."
        time.sleep(0.05)
