"""Optuna with Keras in two processes, which share a study in a journal file as its documentation advises."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from benchmarks.peers.clock import RUNNERS, Course
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


def fixed(workload: Workload, points: list[dict[str, Any]]) -> Outcome:
    """Train the configurations; a trial's number says which, and the processes take them in turn."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(folder)
        _study(course)
        ends = in_processes(_run_list, [(workload, points, course)] * RUNNERS)
        trials = [trial for trial in _study(course).trials if trial.value is not None]
        errors = [float(trial.value) for trial in sorted(trials, key=lambda trial: trial.number)]
        return Outcome(max(ends) - (course.started or 0.0), errors, {})


def search(course: Course, task: Search) -> None:
    """TPE, which is the default, with Hyperband's pruner, which Optuna recommends for it. Ends when it is ended."""
    _study(course)
    in_processes(_run_search, [(task, course, number) for number in range(RUNNERS)])


def _study(course: Course, seed: int = 0, epochs: int = 1) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = optuna.storages.journal.JournalFileBackend(str(Path(course.folder, "journal")))
    return optuna.create_study(
        study_name="peer",
        storage=optuna.storages.JournalStorage(journal),
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(1, epochs, 3),
        load_if_exists=True,
    )


def _run_list(workload: Workload, points: list[dict[str, Any]], course: Course) -> float:
    from benchmarks.peers.keras_models import Networks

    networks, study = Networks(workload.data), _study(course)
    networks.warm_up()
    course.wait()
    while (trial := study.ask()).number < len(points):
        study.tell(trial, networks.error(points[trial.number], workload.epochs))
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return time.time()


def _run_search(task: Search, course: Course, seed: int) -> None:
    import keras

    from benchmarks.peers.keras_models import SCORE, Networks, Recorder

    class Pruning(keras.callbacks.Callback):  # as KerasPruningCallback of optuna-integration
        def __init__(self, trial: optuna.Trial) -> None:
            super().__init__()
            self._trial = trial

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._trial.report((logs or {})[SCORE], epoch)
            if self._trial.should_prune():
                raise optuna.TrialPruned

    networks = Networks(task.data, searched=True)

    def objective(trial: optuna.Trial) -> float:
        keras.utils.clear_session()
        point = _point(trial)
        patience = keras.callbacks.EarlyStopping(SCORE, patience=task.patience, mode="min")
        callbacks = [Recorder(course), patience, Pruning(trial)]
        history = networks.fit(networks.build(point), point["batch_size"], task.epochs, callbacks)
        return min(history[SCORE])

    networks.warm_up()
    study = _study(course, seed, task.epochs)
    course.wait()
    study.optimize(objective)


def _point(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("depth", *DEPTH),
        "width": trial.suggest_int("width", *WIDTH, log=True),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
        "optimizer": trial.suggest_categorical("optimizer", OPTIMIZERS),
        "dropout": trial.suggest_float("dropout", *DROPOUT),
        "batch_size": trial.suggest_categorical("batch_size", BATCHES),
        **{name: trial.suggest_float(name, *limits, log=True) for name, limits in RANGES.items()},
    }
