"""A Keras trial as files, and back: weights, optimizer and seed generators, the best weights, the progress.

Loading never deserialises code: the caller builds the same model again, and only numbers are read.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workers.data import Part, Parts
from workers.trials import member_arrays
from workers.trials.feeding import head
from workers.trials.progress import Progress

MODEL, WEIGHTS, PREPROCESSING = "model.keras", "weights.npz", "preprocessing.json"
BEST, SEEDS, PROGRESS = "best.npz", "seeds.npz", "progress.json"


class NotThisModel(ValueError):
    """The files are whole, but hold another model's weights."""


@contextlib.contextmanager
def checkpoint(model: keras.Model, best: list[Any] | None, progress: Progress) -> Iterator[dict[str, bytes | Path]]:
    """The files of a running trial; they exist inside the `with` block."""
    with _model_file(model) as path:
        seeds = _pack([state.numpy() for state in _seed_states(model)])
        files: dict[str, bytes | Path] = {
            MODEL: path,
            SEEDS: seeds,
            PROGRESS: json.dumps(progress.to_json()).encode(),
        }
        if best is not None:
            files[BEST] = _pack(best)
        yield files


@contextlib.contextmanager
def model(model: keras.Model, parts: Parts) -> Iterator[dict[str, bytes | Path]]:
    """The files of a finished trial; they exist inside the `with` block."""
    with _model_file(model) as path:
        yield {MODEL: path, **_preprocessing(parts)}


def weights(members: Mapping[int, list[np.ndarray]], parts: Parts) -> dict[str, bytes | Path]:
    """The files of finished trials whose models never existed as objects: what `Model.get_weights` would give of each,
    by trial number.
    """
    return {WEIGHTS: member_arrays.pack(members), **_preprocessing(parts)}


def load_finished(model: keras.Model, folder: Path, trial: int) -> None:
    """Load a finished trial's weights, in whichever form it has them. `trial`: its number. Raises NotThisModel."""
    if not (folder / WEIGHTS).exists():
        load_weights(model, folder / MODEL)
        return
    try:
        model.set_weights(member_arrays.unpack(folder / WEIGHTS, trial))
    except Exception as error:  # zipfile, NumPy and Keras each raise their own kinds
        raise NotThisModel(f"{WEIGHTS} does not fit the model: {error}"[:500]) from error


def resume(model: keras.Model, folder: Path) -> tuple[list[Any] | None, Progress]:
    """Load a checkpoint into a model whose variables are built; returns the best weights so far and the progress.

    Raises NotThisModel, also when the optimizer is another one. The model is then half loaded: build it again.
    """
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text()))
        load_weights(model, folder / MODEL)
        for state, value in zip(_seed_states(model), _unpack(folder / SEEDS), strict=True):
            state.assign(value)
        best = _unpack(folder / BEST) if (folder / BEST).exists() else None
        if best is not None and [weight.shape for weight in best] != [tuple(w.shape) for w in model.weights]:
            raise NotThisModel("the best weights have other shapes than the model.")
    except NotThisModel:
        raise
    except Exception as error:  # h5py, zipfile, json and Keras each raise their own kinds
        raise NotThisModel(f"{type(error).__name__}: {error}"[:500]) from error
    return best, progress


def load_weights(model: keras.Model, path: Path) -> None:
    """Load a `.keras` file's weights (and optimizer, where it is built) into a model of the same architecture.

    Raises NotThisModel when anything does not match; an optimizer that is not built yet is left as it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if model.optimizer is not None and not model.optimizer.built:
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        try:
            model.load_weights(path)
        except (ValueError, UserWarning, KeyError) as error:
            raise NotThisModel(f"{path.name} does not fit the model: {error}"[:500]) from error


def build_variables(model: keras.Model, parts: Parts) -> None:
    """Give a model that is built on its first call its variables, and its optimizer its own."""
    if not model.built:
        model(first_rows(parts.train, 2))
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def first_rows(part: Part, rows: int) -> Any:
    """The inputs of the first `rows` rows as tensors: the structure that the model is called with."""
    return tf.nest.map_structure(lambda array: tf.convert_to_tensor(array[:rows]), _inputs(part))


def _inputs(part: Part) -> Any:
    return part.x if part.dataset is None else head(part).batches[0][0]


@contextlib.contextmanager
def _model_file(model: keras.Model) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ockham-") as folder:
        path = Path(folder) / MODEL
        try:
            keras.saving.save_model(model, path)
        except OSError:
            raise
        except Exception:  # a user's class need not be able to describe itself: only its numbers are ever read
            _save_numbers(model, path)
        yield path


def _seed_states(model: keras.Model) -> list[Any]:
    """Where the generators of dropout and noise stand: `.keras` files do not hold it."""
    generators = {id(item): item for layer in model._flatten_layers() for item in layer._seed_generators}
    return [generator.state for generator in generators.values()]


def _save_numbers(model: keras.Model, path: Path) -> None:
    """A `.keras` container without the model's configuration, from which `load_weights` reads as from any other."""
    weights = path.with_name("model.weights.h5")
    model.save_weights(weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        archive.writestr("config.json", json.dumps({"class_name": type(model).__name__}))
        archive.write(weights, weights.name)


def _preprocessing(parts: Parts) -> dict[str, bytes | Path]:
    return {} if parts.preprocessing is None else {PREPROCESSING: json.dumps(parts.preprocessing).encode()}


def _pack(arrays: list[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def _unpack(path: Path) -> list[Any]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"arr_{number}"] for number in range(len(archive.files))]
