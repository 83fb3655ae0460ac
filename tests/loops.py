"""Training loops that tests use as user code: they need no TensorFlow and are done in milliseconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


class FailedTrialError(Exception):
    """Called like KerasTuner's, whose import takes TensorFlow."""


def descent(run: Any) -> None:
    """A loss that falls with the epochs, to a floor that depends on the parameters. Resumes from its state."""
    floor = (run.params["x"] - 0.3) ** 2 + run.params.get("l2", 0.0)
    seen = (run.state or {}).get("seen", 0)
    for epoch in range(run.epoch, run.epochs):
        seen += 1
        run.report({"val_loss": floor + 1.0 / (epoch + 1), "seen": float(seen)}, state={"seen": seen})


def lucky_descent(run: Any) -> None:
    """`descent` with a luck that depends on the trial: of two repeats one scores a half better."""
    floor = (run.params["x"] - 0.3) ** 2 + run.params.get("l2", 0.0) + run.trial % 2 / 2
    for epoch in range(run.epoch, run.epochs):
        run.report({"val_loss": floor + 1.0 / (epoch + 1)}, state={"epoch": epoch})


def tested(run: Any) -> None:
    """A loop that scores each epoch on rows of its own that choose nothing, as `test_loss`."""
    for epoch in range(run.epoch, run.epochs):
        loss = run.params["x"] + 1.0 / (epoch + 1)
        run.report({"val_loss": loss, "test_loss": loss + 0.25}, state={"epoch": epoch})


def slow_descent(run: Any) -> None:
    """`descent` with a tenth of a second per epoch, so that something can happen in its middle."""
    floor = (run.params["x"] - 0.3) ** 2
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.1)
        run.report({"val_loss": floor + 1.0 / (epoch + 1), "pid": float(os.getpid())}, state={"epoch": epoch})


def short_descent(run: Any) -> None:
    """`descent` with some milliseconds per epoch, and a checkpoint after each."""
    floor = (run.params["x"] - 0.3) ** 2 + run.params.get("l2", 0.0)
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.005)
        run.report({"val_loss": floor + 1.0 / (epoch + 1)}, state={"epoch": epoch})


def dying_once(run: Any) -> None:
    """`descent` whose first trial ends its worker after three epochs, unless it resumes from a checkpoint."""
    floor = (run.params["x"] - 0.3) ** 2 + run.params.get("l2", 0.0)
    for epoch in range(run.epoch, run.epochs):
        if run.trial == 0 and epoch == 3 and run.state is None:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)  # a checkpoint is due after each epoch
        run.report({"val_loss": floor + 1.0 / (epoch + 1), "seen": epoch + 1.0}, state={"seen": epoch + 1})


def sometimes_bad(run: Any) -> None:
    """Good trials, and every kind of bad one: which, says the parameter `kind`."""
    kind = run.params["kind"]
    for epoch in range(run.epoch, run.epochs):
        if kind == "raises":
            raise RuntimeError("the user's own mistake")
        if kind == "left out":
            raise FailedTrialError("more than the board holds")
        if kind == "exits":
            os._exit(0)
        value = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}.get(kind, 1.0 / (epoch + 1))
        run.report({"val_loss": value} if kind != "silent" else {"something_else": 1.0})


def ten_reports(run: Any) -> None:
    """An empty trial: ten reports and nothing else."""
    for epoch in range(run.epoch, run.epochs):
        run.report({"val_loss": run.params["x"] / (epoch + 1)})


def paced(run: Any) -> None:
    """A fiftieth of a second per epoch, with a state to resume from."""
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.02)
        run.report({"val_loss": run.params["x"] + 1.0 / (epoch + 1)}, state={"epoch": epoch})


def until_enough(run: Any) -> None:
    """`paced`, until somebody puts the file `enough` into TUNER_HOME."""
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.02)
        loss = run.params["x"] + 1.0 / (epoch + 1)
        run.report({"val_loss": loss, "pid": float(os.getpid())}, state={"epoch": epoch})
        if Path(os.environ["TUNER_HOME"], "enough").exists():
            return


def forgetful(run: Any) -> None:
    """`until_enough` without a state: it cannot be saved."""
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.02)
        run.report({"val_loss": run.params["x"] + 1.0 / (epoch + 1)})
        if Path(os.environ["TUNER_HOME"], "enough").exists():
            return


def seeded(run: Any) -> None:
    """A falling loss whose floor depends on the parameters and, by up to 0.1, on the seed.

    Where `x` is below 0.1 it diverges with every odd seed, so that only some repeats of a configuration fail.
    """
    luck = run.seed % 1000 / 10_000
    broken = run.params["x"] < 0.1 and run.seed % 2
    for epoch in range(run.epoch, run.epochs):
        value = float("nan") if broken else (run.params["x"] - 0.3) ** 2 + luck + 1.0 / (epoch + 1)
        run.report({"val_loss": value}, state={"epoch": epoch})


def classifier(run: Any) -> None:
    """What Keras logs of a classifier, for the worse the higher `x`; one metric is never finite.

    Where `x` is above 0.8 the accuracy is lost in the fourth epoch, where it is below 0.1 the code raises in the first.
    """
    for epoch in range(run.epoch, run.epochs):
        if run.params["x"] < 0.1:
            raise RuntimeError("the user's own mistake")
        loss = run.params["x"] + 1.0 / (epoch + 1)
        lost = run.params["x"] > 0.8 and epoch == 3
        accuracy = float("nan") if lost else 1.0 - loss / 3 - 0.01 * (epoch == 4)  # best before its last epoch
        run.report({"loss": loss, "val_loss": loss + 0.1, "penalty": float("inf"), "val_accuracy": accuracy})
