"""KerasTuner with a chief and two workers, its documented way to use more than one process."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from benchmarks.peers.clock import RUNNERS, Course
from benchmarks.peers.keras_models import SCORE, Networks, Recorder
from benchmarks.peers.processes import Outcome, in_processes
from benchmarks.peers.workloads import (
    ACTIVATIONS,
    BATCHES,
    DEPTH,
    DROPOUT,
    OPTIMIZERS,
    RANGES,
    WIDTH,
    Search,
    Workload,
)

ADDRESS = "127.0.0.1"
PROJECT = "peer"


class Tunable(keras_tuner.HyperModel):
    """The space as `build(hp)`, and a `fit` of its own because the batch size is tuned as well."""

    def __init__(self, networks: Networks, width: tuple[int, int], batches: tuple[int, ...]) -> None:
        super().__init__()
        self._networks, self._width, self._batches = networks, width, batches

    def build(self, hp: Any) -> keras.Model:
        numbers = {name: hp.Float(name, *limits, sampling="log") for name, limits in RANGES.items()}
        return self._networks.build(
            {
                "depth": hp.Int("depth", *DEPTH),
                "width": hp.Int("width", *self._width, sampling="log"),
                "activation": hp.Choice("activation", list(ACTIVATIONS)),
                "optimizer": hp.Choice("optimizer", list(OPTIMIZERS)),
                "dropout": hp.Float("dropout", *DROPOUT),
                "batch_size": hp.Choice("batch_size", list(self._batches)),
                **numbers,
            }
        )

    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return model.fit(self._networks.train(hp["batch_size"]), validation_data=self._networks.validation, **kwargs)


class FixedList(keras_tuner.oracles.RandomSearchOracle):
    """RandomSearch's oracle, which proposes the configurations of a list instead."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        super().__init__(objective=keras_tuner.Objective("val_accuracy", "max"), max_trials=len(points))
        self._points = points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return {"status": "RUNNING", "values": self._points[int(trial_id)]}


def fixed(workload: Workload, points: list[dict[str, Any]]) -> Outcome:
    """Train the configurations with `RandomSearch` over a list."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(folder)
        ends = _with_chief(_run_list, (workload, points, course))
        found = [json.loads(path.read_text()) for path in Path(folder, PROJECT).glob("trial_*/trial.json")]
        errors = [1.0 - trial["score"] for trial in sorted(found, key=lambda trial: int(trial["trial_id"]))]
        return Outcome(max(ends) - (course.started or 0.0), errors, {})


def search(course: Course, task: Search) -> None:
    """Hyperband with its default factor of 3, again and again. Ends when it is ended."""
    _with_chief(_run_search, (task, course))


def _with_chief(worker: Callable[..., float], arguments: tuple[Any, ...]) -> list[float]:
    """Run a chief and two workers; what the workers return."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    chief = multiprocessing.get_context("spawn").Process(target=worker, args=("chief", port, *arguments))
    chief.start()
    try:
        return in_processes(worker, [(f"tuner{number}", port, *arguments) for number in range(RUNNERS)])
    finally:
        chief.kill()  # it would look only every 20 s whether all is done
        chief.join()


def _run_list(role: str, port: int, workload: Workload, points: list[dict[str, Any]], course: Course) -> float:
    networks = Networks(workload.data)
    with _role(role, port, networks, course):
        tuner = keras_tuner.Tuner(
            oracle=FixedList(points),
            hypermodel=Tunable(networks, workload.width, (workload.batch,)),
            directory=course.folder,
            project_name=PROJECT,
        )
        tuner.search(epochs=workload.epochs, verbose=0)
    return time.time()


def _run_search(role: str, port: int, task: Search, course: Course) -> float:
    networks = Networks(task.data, searched=True)
    with _role(role, port, networks, course):
        tuner = keras_tuner.Hyperband(
            Tunable(networks, WIDTH, BATCHES),
            objective=keras_tuner.Objective(SCORE, "min"),
            max_epochs=task.epochs,
            hyperband_iterations=1000,
            seed=0,
            directory=course.folder,
            project_name=PROJECT,
        )
        patience = keras.callbacks.EarlyStopping(SCORE, patience=task.patience, mode="min")
        tuner.search(callbacks=[Recorder(course), patience], verbose=0)
    return time.time()


@contextmanager
def _role(role: str, port: int, networks: Networks, course: Course) -> Iterator[None]:
    """Be the chief or a worker, by the variables that KerasTuner reads; workers begin together."""
    os.environ["KERASTUNER_TUNER_ID"] = role
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = ADDRESS, str(port)
    with contextlib.redirect_stdout(io.StringIO()):
        if role != "chief":
            networks.warm_up()
            course.wait()
        yield
