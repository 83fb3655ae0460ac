"""Ray Tune with Keras: a class Trainable whose two actors are reused, so that TensorFlow is imported once in each."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.peers.clock import RUNNERS, Course
from benchmarks.peers.processes import Outcome
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

ROOT = Path(__file__).resolve().parents[2]


class _KerasTrainable(tune.Trainable):
    """What both share: networks that outlive a trial."""

    def setup(self, config: dict[str, Any], data: str, course: Course, searched: bool) -> None:
        from benchmarks.peers.keras_models import Networks

        self.networks = Networks(data, searched=searched)
        self.networks.warm_up()
        self.reset_config(config)
        course.wait()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save; reusing an actor asks for it all the same."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


class Whole(_KerasTrainable):
    """A configuration of a list; a step is all of its training."""

    def setup(self, config: dict[str, Any], workload: Workload, points: list[dict[str, Any]], course: Course) -> None:  # type: ignore[override]
        self.points, self.epochs = points, workload.epochs
        super().setup(config, workload.data, course, searched=False)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.point = self.points[new_config["number"]]
        return True

    def step(self) -> dict[str, Any]:
        return {"error": self.networks.error(self.point, self.epochs), "done": True}


class Epochs(_KerasTrainable):
    """A trial of a search; a step is one epoch, so that ASHA can stop it."""

    def setup(self, config: dict[str, Any], task: Search, course: Course) -> None:  # type: ignore[override]
        self.patience, self.course = task.patience, course
        super().setup(config, task.data, course, searched=True)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        import keras

        keras.utils.clear_session()
        self.batch = new_config["batch_size"]
        self.model = self.networks.build(new_config)
        self.best, self.waited = float("inf"), 0
        return True

    def step(self) -> dict[str, Any]:
        from benchmarks.peers.keras_models import SCORE

        score = self.networks.fit(self.model, self.batch, 1)[SCORE][0]
        self.course.record(score)
        self.waited = 0 if score < self.best else self.waited + 1
        self.best = min(score, self.best)
        return {"score": score, "done": self.waited >= self.patience}


def fixed(workload: Workload, points: list[dict[str, Any]]) -> Outcome:
    """Train the configurations as a grid over their numbers."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(folder)
        _start_ray()
        trainable = tune.with_parameters(Whole, workload=workload, points=points, course=course)
        space = {"number": tune.grid_search(list(range(len(points))))}
        results = _fit(trainable, space, folder, tune.TuneConfig(**_CONCURRENT))
        seconds = time.time() - (course.started or 0.0)
        errors = {result.config["number"]: result.metrics["error"] for result in results}
        ray.shutdown()
        return Outcome(seconds, [errors[number] for number in range(len(points))], {})


def search(course: Course, task: Search) -> None:
    """Random search with ASHA at its default grace of 1 epoch and reduction factor of 4. Ends when it is ended."""
    _start_ray()
    space = {
        "depth": tune.randint(DEPTH[0], DEPTH[1] + 1),
        "width": tune.lograndint(WIDTH[0], WIDTH[1] + 1),
        "activation": tune.choice(ACTIVATIONS),
        "optimizer": tune.choice(OPTIMIZERS),
        "dropout": tune.uniform(*DROPOUT),
        "batch_size": tune.choice(BATCHES),
        **{name: tune.loguniform(*limits) for name, limits in RANGES.items()},
    }
    scheduler = tune.schedulers.ASHAScheduler(max_t=task.epochs)
    config = tune.TuneConfig(metric="score", mode="min", num_samples=-1, scheduler=scheduler, **_CONCURRENT)
    _fit(tune.with_parameters(Epochs, task=task, course=course), space, course.folder, config)


_CONCURRENT: dict[str, Any] = {"max_concurrent_trials": RUNNERS, "reuse_actors": True}


def _fit(trainable: Any, space: dict[str, Any], folder: str, config: tune.TuneConfig) -> tune.ResultGrid:
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=config,
        run_config=tune.RunConfig(
            storage_path=folder,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return tuner.fit()


def _start_ray() -> None:
    logging.disable(logging.WARNING)
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        RAY_worker_niceness="0",  # Ray starts its workers at a lower priority than the other peers have
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    )
    ray.init(num_cpus=RUNNERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
