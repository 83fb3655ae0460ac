"""A finished trial's model, built again from its artifact by a process that scores or exports it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import Training
from workers.data import DataError, Parts, load

PREPROCESSING = "preprocessing.json"


def described(store: ArtifactStore, key: str, trial: int) -> dict[str, Any]:
    """What the manifest says of the trial: trials that were trained together may share an artifact."""
    members: list[dict[str, Any]] = store.manifest(key)["members"]
    for member in members:
        if member["trial"] == trial:
            return member
    has = ", ".join(str(member["trial"]) for member in members)
    raise ArtifactDamaged(f"Artifact {key!r} has nothing of trial {trial}; it is of {has}.")


def models_of(request: Mapping[str, Any]) -> Iterator[tuple[Any, Parts]]:
    """Each trial's model and its data, in their order.

    Args:
        request: the study's `training` and `artifact_root`, and the `trials`, each as `rebuilt` takes it, with the
            `key` and the `sha256` of its artifact.
    """
    training = Training.from_json(request["training"])
    if training.data is None:
        raise DataError(f"Study {training.study!r} names no data to look at its models with.")
    store = ArtifactStore(request["artifact_root"])
    for trial in request["trials"]:
        parts = load(training.data, training.import_paths, trial["trial"])
        folder = store.verify(trial["key"], trial["sha256"])
        same_preprocessing(parts, folder)
        yield rebuilt(training, folder, trial, parts), parts


def rebuilt(training: Training, folder: Path, trial: Mapping[str, Any], parts: Parts) -> Any:
    """The trial's model with its weights: built as it was for training, only numbers are read from the file.

    Args:
        training: the study's.
        folder: the artifact's, verified.
        trial: its number as `trial`, its `params` and its `seed`.
        parts: the study's data, encoded as it was for training.
    """
    from workers.trials import keras_files, models
    from workers.trials.seeds import set_seeds

    set_seeds(trial["seed"], keras=True)
    model = models.build(training, trial["params"], parts).model
    keras_files.build_variables(model, parts)
    keras_files.load_finished(model, folder, trial["trial"])
    return model


def same_preprocessing(parts: Parts, folder: Path) -> dict[str, Any] | None:
    """How the trial's columns were encoded; None: they were not. Raises DataError where they would be otherwise now."""
    path = folder / PREPROCESSING
    state: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    if state != parts.preprocessing:
        raise DataError(
            "The data has changed since the trial was trained: its columns would be encoded otherwise. Restore it."
        )
    return state
