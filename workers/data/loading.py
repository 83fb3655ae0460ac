"""The data of a study, read once per process."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.data.arrays import parts_from
from workers.data.errors import DataError
from workers.data.files import called, digest, is_table, read_arrays, stamp
from workers.data.npz import nested
from workers.data.options import Options
from workers.data.parts import Parts
from workers.data.tables import load_table
from workers.entry_points import resolve
from workers.failures import sentence_of

KEPT = 3  # studies whose data a process keeps: a worker may serve several by turns

_cache: OrderedDict[str, Sequence[Parts]] = OrderedDict()  # one of each fold
_lock = threading.RLock()


def load(data: Mapping[str, Any], import_paths: Sequence[str] = (), trial: int = 0) -> Parts:
    """The parts of a study's data; the same object as long as nothing changed. The rows of each part are the same
    in every process.

    Args:
        data: the study's `data` dictionary, see workers/data/options.py. Files are read again when their
            modification time or size changed; a function is called once per process.
        import_paths: folders in front of `sys.path` for the user's function.
        trial: its number, which says which fold validates where the data has folds, see `fold_of`.

    Raises:
        DataError: the data cannot be used; one sentence.
        EntryPointError: the function's name leads nowhere.
    """
    options = Options.parse(data)
    stamps = {part: stamp(path) for part, path in options.files.items()}
    key = json.dumps([dict(data), list(import_paths), stamps], sort_keys=True, default=str)
    with _lock:
        if key not in _cache:
            _cache[key] = _load(options, import_paths)
            while len(_cache) > KEPT:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        return _cache[key][fold_of(data, trial)]


def fold_of(data: Mapping[str, Any], trial: int) -> int:
    """The fold that validates a trial, from 0: the repeats of a configuration, numbered in a row, take turns."""
    return trial % (data.get("folds") or 1)


def _load(options: Options, import_paths: Sequence[str]) -> Sequence[Parts]:
    if options.function is not None:
        return _load_function(options, options.function, import_paths)
    if is_table(_train_file(options)):
        return load_table(options, _fingerprint(options))
    return _load_arrays(options)


def _load_function(options: Options, name: str, import_paths: Sequence[str]) -> Sequence[Parts]:
    function = resolve(name, import_paths)
    if not callable(function):
        raise DataError(f"{name} is a {type(function).__name__}, expected a function without arguments.")
    try:
        value = function()
    except (Exception, SystemExit) as error:
        raise DataError(f"The data function {name} failed: {sentence_of(error)}") from error
    return parts_from(value, options, name)


def _load_arrays(options: Options) -> Sequence[Parts]:
    fingerprint = _fingerprint(options)
    value = nested(read_arrays(_train_file(options)))
    for part, path in options.files.items():
        if part == "train":
            continue
        if is_table(path):
            raise DataError(
                f"data.{part}: {path.name} is a table and the train file holds arrays: expected one kind of file."
            )
        value.update(
            {f"{name}_{part}" if "_" not in name else name: array for name, array in nested(read_arrays(path)).items()}
        )
    return parts_from(value, options, called(_train_file(options)), fingerprint)


def _train_file(options: Options) -> Path:
    return options.files["train"]


def _fingerprint(options: Options) -> str:
    """SHA-256 of the files' bytes and of what is done with them; the place of the files does not matter."""
    total = hashlib.sha256()
    for part, path in sorted(options.files.items()):
        total.update(part.encode() + digest(path))
    choices = [
        options.target, options.task, options.shares, options.exclude, options.features,
        options.categories, options.weight, options.seed, options.held_back,
    ]  # fmt: skip
    total.update(json.dumps(choices).encode())
    return total.hexdigest()
