"""Trials whose code owns its training loop.

    def train(run):
        for epoch in range(run.epoch, run.epochs):
            ...
            run.report({"val_loss": loss}, state={"weight": weight})

`"module:train"` is called once per attempt with a `Run`. Nothing here imports TensorFlow; the code may.
It runs in a thread, so `signal.signal` is not available to it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.contract import Training
from workers.entry_points import resolve
from workers.trials.checkpoints import Checkpoints
from workers.trials.gate import Lane, TrialFinished
from workers.trials.progress import Progress, require_finite
from workers.trials.seeds import set_seeds


class Run:
    """One attempt at one trial, as its code sees it.

    Attributes:
        params: the trial's hyperparameters, name -> value.
        seed: Python's and NumPy's (and, where loaded, Keras') generators are already seeded with it.
        epoch: epochs already done; above 0 when the attempt resumes from a saved state.
        epochs: epochs to train at most. A report beyond this ends the trial.
        state: what the last `report(..., state=...)` before the interruption saved, or None.
        trial: the trial's number in its study.
    """

    def __init__(self, lane: Lane, training: Training) -> None:
        member = lane.member
        self.params = dict(member.params)
        self.seed = member.seed
        self.trial = member.trial
        self.epochs = training.epochs
        self.state: Any = None
        self._lane = lane
        self._training = training
        self._checkpoints = Checkpoints(training)
        self._progress = Progress()
        self._best: dict[str, bytes] = {}
        self._resume()
        self._began = time.monotonic()

    @property
    def epoch(self) -> int:
        return self._progress.epoch

    @property
    def over(self) -> bool:
        """Whether a resumed trial had already come to its end."""
        return self._progress.over(self._training)

    @property
    def hp(self) -> Any:
        """The parameters as a `keras_tuner.HyperParameters`, for code written for KerasTuner."""
        from workers.trials.hyperparameters import filled

        return filled(self.params)

    def progress(self, batches: int = 1) -> None:
        """Say that work is going on inside a long epoch; ends the trial here if it was stopped.

        Needed in an epoch that waits, using no processor, for 25 seconds (the first one of an assignment: for 300,
        so that data can be had), or computes for an hour: it would be taken for one that hangs.
        """
        self._lane.batch(batches)

    def report(self, metrics: Mapping[str, Any], state: Any = None, model: Any = None) -> None:
        """Report the metrics of a finished epoch; returns when the next one may begin.

        Args:
            metrics: name -> number; must hold the study's objective.
            state: JSON to resume from. Without it a lost trial starts again at epoch 0.
            model: a Keras model, saved when the epoch is the best so far, or None.

        Raises:
            TrialStopped: the trial is over; let it pass (it is not an `Exception`).
            ValueError: a metric is not a number, or the objective is missing.
        """
        if self.epoch >= self.epochs:
            raise TrialFinished
        epoch, numbers = self.epoch + 1, _numbers(metrics)
        self._lane.batch()
        self._lane.report(epoch, numbers, time.monotonic() - self._began)
        require_finite(self._training, epoch, numbers)
        files = {} if state is None else {"state.json": _encode(state)}
        if self._progress.update(self._training, epoch, numbers):
            self._best = {**files, **_model_bytes(model)}
        if files and self._checkpoints.due([self._lane]):
            self._save(files)
        if not self.over:
            self._lane.arrive(epoch)
        elif epoch < self.epochs:
            raise TrialFinished
        self._began = time.monotonic()

    def finish(self) -> int | None:
        """Save the best epoch's state and model; returns that epoch."""
        best = self._progress.best_epoch
        if best is not None and self._best:
            self._checkpoints.save("model", {self._lane: best}, self._best)
        return best

    def _save(self, files: dict[str, bytes]) -> None:
        best = {f"best-{name}": content for name, content in self._best.items()}
        progress = _encode(self._progress.to_json())
        self._checkpoints.save("checkpoint", {self._lane: self.epoch}, {**files, **best, "progress.json": progress})

    def _resume(self) -> None:
        folder = self._checkpoints.open(self._lane)
        if folder is None:
            return
        try:
            self._progress = Progress(**json.loads((folder / "progress.json").read_text()))
            self.state = json.loads((folder / "state.json").read_text())
            self._best = {path.name[len("best-") :]: path.read_bytes() for path in folder.glob("best-*")}
        except (OSError, ValueError, TypeError) as error:
            self._progress, self.state, self._best = Progress(), None, {}
            self._checkpoints.refuse(self._lane, error)


def train_loop(lane: Lane, training: Training) -> int | None:
    """Run a trial whose code owns its loop; returns its best epoch."""
    function: Callable[[Run], Any] = resolve(training.model, training.import_paths)
    set_seeds(lane.member.seed)
    run = Run(lane, training)
    try:
        if not run.over:
            lane.arrive(run.epoch)
            function(run)
    except TrialFinished:
        pass
    if run.epoch == 0:
        raise ValueError(
            f"{training.model} returned without a report. Call run.report({{{training.objective!r}: value}}) "
            "at the end of each epoch."
        )
    return run.finish()


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"run.report expects a dictionary of metrics such as {{'val_loss': 0.3}}, got {metrics!r:.200}."
        )
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"The metric {name!r} is {value!r:.200}, which is not a number.") from None
    return numbers


def _encode(state: Any) -> bytes:
    try:
        return json.dumps(state).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"run.report(state=...) expects JSON (numbers, text, lists, dictionaries): {error}.") from None


def _model_bytes(model: Any) -> dict[str, bytes]:
    if model is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return {"model.keras": path.read_bytes()}
