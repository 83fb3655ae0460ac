"""What a trainer made of its trials, for tests that hold trials trained together against trials trained alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import Member, Training
from workers.trials.gate import Events
from workers.worker import Trainer


def cohort_training(model: str, data: str, artifacts: Path, import_path: str, **changes: Any) -> Training:
    """A study of a Keras model that saves no checkpoint by itself.

    Args:
        model: "mlp", or what builds one: "module:name".
        data: a function, "module:name".
        changes: the `epochs`, and whatever else is to be different.
    """
    values: dict[str, Any] = {
        "study": "cohorts",
        "model": model,
        "loop": False,
        "space": None,
        "data": {"function": data},
        "objective": "val_data_loss",
        "direction": "minimize",
        "patience": None,
        "checkpoint_seconds": 1e9,
        "artifacts": str(artifacts),
        "seed": 5,
        "import_paths": (import_path,),
    }
    return Training(**{**values, **changes})


def members_of(points: Iterable[dict[str, Any]]) -> tuple[Member, ...]:
    """First attempts at trials with these parameters, numbered from 0, each with a seed of its own."""
    return tuple(Member(number, 1, params, 100 + number) for number, params in enumerate(points))


def finished(trainer: Trainer, until: int) -> Events:
    """Everything that happens up to epoch `until`."""
    trainer.start()
    events = trainer.advance(until, 300.0, ())
    assert trainer.stop(20.0)
    return events


def curves(events: Events) -> dict[tuple[int, int], dict[str, float]]:
    """The metrics by trial and epoch."""
    return {(report.trial, report.epoch): report.metrics for report in events.reports}


def saved_weights(training: Training, points: Sequence[dict[str, Any]], events: Events) -> dict[int, list[np.ndarray]]:
    """The weights of the saved models, read as promotion reads them: into a model that was built anew."""
    from workers.data import load
    from workers.trials import keras_files, models

    assert training.data is not None
    parts = load(training.data, training.import_paths)
    found = {}
    for item in events.saved:
        model = models.build(training, points[item.trial], parts).model
        keras_files.build_variables(model, parts)
        keras_files.load_finished(model, Path(training.artifacts) / item.key, item.trial)
        found[item.trial] = model.get_weights()
    return found
