"""From a table with a target column (CSV, TSV, Parquet) to the parts of a study."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.data import columns
from workers.data.errors import DataError
from workers.data.files import called, is_table, read_table
from workers.data.options import Options
from workers.data.parts import Part, Parts
from workers.data.split import Fold, hold_back, split
from workers.data.targets import Targets, column_targets


def load_table(options: Options, fingerprint: str) -> list[Parts]:
    """Read, check and split the tables, and learn from the train rows how to encode columns; nothing is encoded yet.

    Of each fold the parts: what is learned is that of its train rows.
    """
    frames = _read(options)
    names = _features(frames, options)
    kinds = columns.kinds(frames, names, options.categories)
    targets = _targets(frames, options)
    offsets = dict(zip(frames, np.cumsum([0, *map(len, frames.values())]), strict=False))
    raw = {key: _raw(frame, kinds, called(options.files[key])) for key, frame in frames.items()}
    weights = {key: _weight(frame, options, called(options.files[key])) for key, frame in frames.items()}

    def taken(source: str, chosen: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
        weight = weights[source]
        chosen_columns = {name: column[chosen] for name, column in raw[source].items()}
        return chosen_columns, targets.values[offsets[source] + chosen], None if weight is None else weight[chosen]

    def parts_of(rows: Mapping[str, tuple[str, np.ndarray]]) -> Parts:
        found = {part: taken(*where) for part, where in rows.items()}
        state = columns.learn(found["train"][0], kinds, options.categories)
        parts = {part: _part(state, *content) for part, content in found.items()}
        return Parts(
            train=parts["train"],
            validation=parts["validation"],
            test=parts.get("test"),
            task=targets.task,
            classes=targets.classes,
            labels=targets.labels,
            input_shape=(state["width"],),
            preprocessing=state,
            fingerprint=fingerprint,
            notes=_notes(state, parts["train"], options),
        )

    return [parts_of(_rows(frames, each, targets)) for each in options.each_fold]


def _part(state: Mapping[str, Any], raw: Mapping[str, np.ndarray], y: np.ndarray, weight: np.ndarray | None) -> Part:
    return Part(
        y=y,
        weight=weight,
        rows=len(y),
        columns=columns.inputs(raw, state),
        encode=functools.partial(_encode, state=state),
    )


def _encode(raw: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> np.ndarray:
    from workers.data.preprocessing import encode  # imports TensorFlow

    return encode(raw, state)


def _read(options: Options) -> dict[str, Any]:
    for key, path in options.files.items():
        if not is_table(path):
            raise DataError(
                f"data.{key}: {path.name} holds arrays and the train file is a table: expected one kind of file."
            )
    frames = {key: read_table(path) for key, path in options.files.items()}
    if options.target is None:
        raise DataError(f"data.target: name the column to predict, one of {_some(frames['train'].columns)}.")
    for key, frame in frames.items():
        special = {"the target": options.target, "the weight": options.weight}
        for what, name in special.items():
            if name is not None:
                columns.require(frame, [name], called(options.files[key]), what)
    return frames


def _features(frames: Mapping[str, Any], options: Options) -> list[str]:
    """Names of the columns to learn from, in the order of the train file."""
    train, origin = frames["train"], called(options.files["train"])
    for field in ("features", "exclude", "categories"):
        columns.require(train, getattr(options, field) or (), origin, f"in data.{field}")
    left_out = {options.target, options.weight, *options.exclude}
    wanted = train.columns if options.features is None else options.features
    names = [name for name in train.columns if name in set(wanted) and name not in left_out]
    if not names:
        raise DataError(f"{origin} has no column left to learn from besides target {options.target!r}.")
    unused = [name for name in options.categories if name not in names]
    if unused:
        raise DataError(f"data.categories: {unused[0]!r} is not among the features: remove it there or use it.")
    for key, frame in frames.items():
        columns.require(frame, names, called(options.files[key]), "a feature of the train file")
    return names


def _targets(frames: Mapping[str, Any], options: Options) -> Targets:
    """Targets of all tables, one after the other: classes get the same numbers everywhere."""
    import pandas as pd

    name = options.target or ""
    for key, frame in frames.items():
        missing = int(frame[name].isna().sum())
        if missing:
            raise DataError(
                f"Target {name!r} is NaN or empty in {missing} of {len(frame)} rows of {called(options.files[key])}: "
                "remove or repair these rows."
            )
    series = pd.concat([frame[name] for frame in frames.values()], ignore_index=True)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise DataError(f"Target {name!r} holds dates: expected numbers, text or booleans.")
    plain = pd.api.types.is_numeric_dtype(series.dtype)
    return column_targets(series.to_numpy() if plain else series.astype(str).to_numpy(dtype=str), name, options.task)


def _rows(frames: Mapping[str, Any], options: Options, targets: Targets) -> dict[str, tuple[str, np.ndarray]]:
    """For every part the table it comes from and its rows there."""
    count = len(frames["train"])
    strata = None if targets.strata is None else targets.strata[:count]
    pieces = split(count, *options.shares, options.seed, strata)
    found = {key: ("train", rows) for key, rows in zip(("train", "validation", "test"), pieces, strict=True)}
    for key in ("validation", "test"):
        if key in frames:
            found[key] = (key, np.arange(len(frames[key])))
    if options.test is None:
        del found["test"]
    if options.held_back is not None:
        source, rows = found["validation"]
        codes = None if targets.strata is None else targets.strata[rows + (0 if source == "train" else count)]
        ranking, held = hold_back(len(rows), options.held_back, options.seed, codes)
        found["validation"], found["test"] = (source, rows[ranking]), (source, rows[held])
    require_rows({key: len(rows) for key, (_, rows) in found.items()}, count, options, called(options.files["train"]))
    return found


def require_rows(rows: Mapping[str, int], total: int, options: Options, origin: str) -> None:
    """DataError for a part without rows."""
    for part, count in rows.items():
        if count == 0:
            folds = part == "validation" and isinstance(options.validation, Fold)
            reason = "data.folds are too many" if folds else f"data.{part} is too small"
            raise DataError(f"There are no {part} rows: {origin} has {total} rows, too few to split, or {reason}.")


def _raw(frame: Any, kinds: Mapping[str, str], origin: str) -> dict[str, np.ndarray]:
    return {name: columns.values(frame, kind, name, origin) for name, kind in kinds.items()}


def _weight(frame: Any, options: Options, origin: str) -> np.ndarray | None:
    if options.weight is None:
        return None
    weight = columns.values(frame, "number", options.weight, origin)
    return checked_weight(weight, len(frame), f"Weight {options.weight!r} of {origin}")


def checked_weight(weight: np.ndarray, rows: int, what: str) -> np.ndarray:
    """Weights as float32 (rows,), or DataError."""
    if weight.shape != (rows,):
        raise DataError(f"{what} has shape {weight.shape}, expected one number per row: ({rows},).")
    if not np.isfinite(weight).all() or (weight < 0).any() or not (weight > 0).any():
        raise DataError(
            f"{what} has missing, infinite or negative values, or only zeros: expected a number from 0 up per row."
        )
    return weight.astype(np.float32)


def _notes(state: Mapping[str, Any], train: Part, options: Options) -> dict[str, Any]:
    missing = {
        entry["name"]: int(np.isnan(column).sum())
        for entry in state["columns"]
        if entry["kind"] == "number" and np.isnan(column := (train.columns or {})[entry["name"]]).any()
    }
    return {
        "target": options.target,
        "features": {entry["name"]: entry["kind"] for entry in state["columns"]},
        "missing_in_train": missing,
        "files": {key: Path(path).name for key, path in options.files.items()},
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, list(names)[:12])) + (", ..." if len(names) > 12 else "")
