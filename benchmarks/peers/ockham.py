"""Ockham: a study on two worker processes, its database and its coordinator included."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import tuner
from benchmarks.peers.clock import RUNNERS
from benchmarks.peers.processes import Outcome
from benchmarks.peers.workloads import (
    ACTIVATIONS,
    BATCHES,
    DEPTH,
    DROPOUT,
    OPTIMIZERS,
    RANGES,
    WARM_DEPTH,
    WARM_POINT,
    WIDTH,
    Search,
    Workload,
)
from db import reports, trials
from search_spaces import Float, mlp
from tuner.configuration import Settings
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.coordinator import Coordinator
from tuner.databases import open_database
from tuner.reporting.results import study_row
from tuner.submission import submit
from workers.contract import CheckReport, Launcher
from workers.launchers import launcher

ROOT = Path(__file__).resolve().parents[2]
STUDY = "benchmark"
WAIT_SECONDS = 0.05


def fixed(workload: Workload, points: list[dict[str, Any]]) -> Outcome:
    """Train the configurations as the first trials of a study. Its parts, in core-seconds: see `_parts`."""
    space = mlp(depth=DEPTH, width=workload.width, learning_rate=(1e-4, 1e-2), l2=(1e-6, 1e-2), l1=0.0, dropout=0.0)
    options: dict[str, Any] = {
        "space": space,
        "sampler": "random",
        "pruner": "none",
        "patience": None,
        "epochs": workload.epochs,
    }
    with warm_workers(workload.data) as (settings, workers):
        submit_study(STUDY, workload.data, settings, trials=len(points), enqueue=points, **options)
        before = _cpu_seconds(workers)
        seconds = run_study(STUDY, settings, workers)
        used = {name: after - before[name] for name, after in _cpu_seconds(workers).items()}
        curves = _curves(settings)
    errors = [1.0 - max(report.metrics["val_accuracy"] for report in curve) for curve in curves]
    training = sum(report.seconds for curve in curves for report in curve)
    return Outcome(seconds, errors, {"all": RUNNERS * seconds, "training": training, **used})


def reach(task: Search, target: float, seconds: float, seed: int) -> dict[str, Any]:
    """Search with every default until an epoch scores `target` or better, and is in the database.

    Returns:
        `seconds` that took, None where the given seconds did not suffice; the `best` score by then, None where no
        epoch was over; and the `trials` that had begun.
    """
    ranges = {name: Float(*limits, log=True) for name, limits in RANGES.items()}
    space = mlp(
        depth=DEPTH,
        width=WIDTH,
        activation=ACTIVATIONS,
        optimizer=OPTIMIZERS,
        dropout=Float(*DROPOUT),
        batch_size=BATCHES,
        **ranges,
    )
    options: dict[str, Any] = {"epochs": task.epochs, "patience": task.patience, "max_seconds": seconds, "seed": seed}
    best, watched, study = float("inf"), set[int](), None

    def enough(active: ActiveStudy, passed: float) -> bool:
        """Whether a trial that runs, or did when this was asked before, has reached the target."""
        nonlocal best, watched, study
        running, study = set(active.running), active
        values = [value for number in watched | running for value in active.points[number].curve.values()]
        best, watched = min([best, *(value for value in values if value == value)]), running
        return best <= target or passed >= seconds

    with warm_workers(task.data) as (settings, workers):
        submit_study(STUDY, task.data, settings, task=task.task, space=space, trials=100_000, cohort=None, **options)
        passed = run_study(STUDY, settings, workers, enough)
    return {
        "seconds": passed if best <= target else None,
        "best": best if best < float("inf") else None,
        "trials": len(study.points) if study else 0,
    }


@contextmanager
def warm_workers(data: str) -> Iterator[tuple[Settings, Launcher]]:
    """A new home, and two workers that have loaded the data and trained a network of a depth that is not measured.

    Classes are taken for numbers there, so that the program with the loss of classes is not traced before the clock
    runs; where numbers are measured it is.
    """
    with tempfile.TemporaryDirectory() as home:
        settings = Settings.load({}, home=Path(home), import_paths=str(ROOT))
        workers = launcher("processes", workers=RUNNERS)
        try:
            options: dict[str, Any] = {
                "trials": RUNNERS,
                "enqueue": [WARM_POINT] * RUNNERS,
                "cohort": 1,
                "epochs": 1,
                "pruner": "none",
            }
            submit_study(
                "warm", data, settings, task="regression", space=mlp(depth=(1, WARM_DEPTH)), sampler="random", **options
            )
            run_study("warm", settings, workers)
            yield settings, workers
        finally:
            workers.close()


def submit_study(name: str, data: str, settings: Settings, *, task: str = "classification", **options: Any) -> None:
    """Store the study; the dry run is left out, as the peers have none."""
    source = {"function": f"benchmarks.peers.data:{data}", "task": task}
    study = tuner.create_study(name, data=source, settings=settings, **options)
    submit(study.definition, lambda _: CheckReport(), settings)


def run_study(
    name: str,
    settings: Settings,
    workers: Launcher,
    enough: Callable[[ActiveStudy, float], bool] = lambda _study, _passed: False,
) -> float:
    """Run the study to its end as `tuner run` does, or until it is enough; the seconds that took."""
    with open_database(settings) as database:
        coordinator = Coordinator(database, workers, settings, only=name)
        started = time.perf_counter()
        busy = coordinator.step()
        while coordinator.studies:
            if enough(next(iter(coordinator.studies.values())), time.perf_counter() - started):
                break
            if not busy:
                coordinator.wait(WAIT_SECONDS)
            busy = coordinator.step()
        seconds = time.perf_counter() - started
        coordinator.close()
    return seconds


def _curves(settings: Settings) -> list[list[Any]]:
    """The reports of each trial by epoch, in the order of the trials."""
    with open_database(settings) as database, database.read() as s:
        rows = trials.all(s, study_row(database, STUDY).id)
        return [reports.curve(s, row.id) for row in rows]


def _cpu_seconds(workers: Launcher) -> dict[str, float]:
    """CPU seconds used so far: by the workers in all, and by this process with its coordinator and sampler."""
    pids = [worker["pid"] for worker in workers.describe() if worker["pid"]]
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    own = psutil.Process(os.getpid()).cpu_times()
    return {"workers": sum(item.user + item.system for item in times), "coordinator": own.user + own.system}
