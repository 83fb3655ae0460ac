"""Columns of a table: what kind each is, what its encoding has to know, and its values in one fixed type.

The encoding state is plain JSON, learned from the train rows alone; workers/data/preprocessing.py turns it into layers:

    {"schema": 1, "width": 7, "columns": [
        {"name": "age", "input": "age", "kind": "number", "mean": 38.6, "variance": 187.9},
        {"name": "job", "input": "job", "kind": "text", "vocabulary": ["clerk", "driver"]},
        {"name": "wing", "input": "wing", "kind": "integer", "vocabulary": [1, 2, 3], "missing": 0},
        {"name": "paid", "input": "paid", "kind": "bool", "vocabulary": [0, 1]}]}

`kind` is also the type a served model takes: float32, string, int64, bool. A missing number is NaN, a missing text
is "", a missing integer is `missing` (any number outside the vocabulary does); a missing boolean makes a text column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workers.data.errors import DataError, nearest

SCHEMA = 1
MOST_TEXTS = 256  # distinct texts of a column that nobody listed in `categories`
MOST_CATEGORIES = 10_000  # of a column that is listed: each is a column of the matrix
SMALL = 20  # rows up to which distinct texts are not compared with the number of rows
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+(,\d+)?\s*")


def kinds(frames: Mapping[str, Any], names: Sequence[str], categories: Sequence[str]) -> dict[str, str]:
    """The kind of every column, from the tables of all parts (pandas DataFrames) that have it."""
    return {name: _kind([frame[name] for frame in frames.values()], name, name in categories) for name in names}


def values(frame: Any, kind: str, name: str, origin: str) -> np.ndarray:
    """A column as float64 (number; NaN where missing), text, float64 whole numbers (integer) or bool, shape (rows,)."""
    series = frame[name]
    if kind == "text":
        texts = ["" if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]
        return np.asarray(texts, dtype=object)
    if kind == "bool":
        return series.to_numpy(dtype=bool)  # type: ignore[no-any-return]
    numbers = _numbers(series, name, origin)
    if kind == "integer" and not (np.isnan(numbers) | (numbers == np.round(numbers))).all():
        raise DataError(
            f"Column {name!r} of {origin} is listed in categories and has fractions: expected whole numbers or text."
        )
    return numbers


def learn(columns: Mapping[str, np.ndarray], kinds: Mapping[str, str], listed: Sequence[str]) -> dict[str, Any]:
    """The encoding state, from the values of the train rows."""
    entries = [_learn(name, kinds[name], column, name in listed) for name, column in columns.items()]
    for entry, name in zip(entries, input_names(list(columns)), strict=True):
        entry["input"] = name
    width = sum(1 if entry["kind"] == "number" else 1 + len(entry["vocabulary"]) for entry in entries)
    return {"schema": SCHEMA, "width": width, "columns": entries}


def inputs(columns: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Raw columns in the types that a served model takes, by column name."""
    types = {"number": np.float32, "bool": np.bool_}
    fixed = {}
    for entry in state["columns"]:
        column = columns[entry["name"]]
        if entry["kind"] == "integer":
            column = np.where(np.isnan(column), entry["missing"], column).astype(np.int64)
        fixed[entry["name"]] = column.astype(types.get(entry["kind"], column.dtype))
    return fixed


def input_names(columns: Sequence[str]) -> list[str]:
    """Names for a served model's inputs: the columns' own, with _ for what TensorFlow's names cannot hold."""
    names: list[str] = []
    for column in columns:
        text = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in column)
        name = base = text if text[:1].isalpha() else f"column_{text}"
        suffix = 2
        while name in names or (name != column and name in columns):
            name, suffix = f"{base}_{suffix}", suffix + 1
        names.append(name)
    return names


def _kind(parts: Sequence[Any], name: str, listed: bool) -> str:
    from pandas.api import types

    dtypes = [series.dtype for series in parts]
    if any(types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype) for dtype in dtypes):
        raise DataError(
            f"Column {name!r} holds dates. Exclude it, or give its hour, weekday or age as columns of numbers."
        )
    if all(types.is_bool_dtype(dtype) for dtype in dtypes) and not any(series.isna().any() for series in parts):
        return "bool"
    if types.is_numeric_dtype(dtypes[0]) and not types.is_bool_dtype(dtypes[0]):  # the train file decides
        return "integer" if listed else "number"
    for series in parts:
        strange = next(
            (value for value in series.dropna() if not isinstance(value, str | bool | int | float | np.generic)), None
        )
        if strange is not None:
            raise DataError(
                f"Column {name!r} holds {type(strange).__name__}, expected numbers, text or booleans: exclude it."
            )
    return "text"


def _numbers(series: Any, name: str, origin: str) -> np.ndarray:
    import pandas as pd

    converted = pd.to_numeric(series, errors="coerce")
    wrong = series[converted.isna() & series.notna()]
    if len(wrong):
        raise DataError(
            f"Column {name!r} of {origin} should hold numbers and has {wrong.iloc[0]!r} in {len(wrong)} rows."
        )
    numbers: np.ndarray = converted.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise DataError(
            f"Column {name!r} of {origin} is infinite in {int(np.isinf(numbers).sum())} rows: repair or exclude it."
        )
    return numbers


def _learn(name: str, kind: str, column: np.ndarray, listed: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "kind": kind}
    if kind == "number":
        known = column[~np.isnan(column)]
        if not len(known):
            raise DataError(f"Column {name!r} has no value in any train row: exclude it.")
        variance = float(np.var(known))
        spread = variance > 1e-12 * max(1.0, float(np.mean(known**2)))  # what is constant but for rounding stays so
        return {**entry, "mean": float(np.mean(known)), "variance": variance if spread else 1.0}
    if kind == "integer":
        vocabulary = sorted({int(value) for value in column[~np.isnan(column)]})
        entry["missing"] = vocabulary[0] - 1 if vocabulary else 0
    elif kind == "bool":
        vocabulary = sorted({int(value) for value in column})
    else:
        return {**entry, "vocabulary": _texts(name, column, listed)}
    _limit(name, len(vocabulary), MOST_CATEGORIES)
    return {**entry, "vocabulary": vocabulary}


def _texts(name: str, column: np.ndarray, listed: bool) -> list[str]:
    vocabulary = sorted({str(value) for value in column} - {""})
    many = len(vocabulary) > MOST_TEXTS or (len(column) > SMALL and len(vocabulary) > len(column) / 2)
    if many and not listed:
        if all(DECIMAL_COMMA.fullmatch(value) for value in vocabulary):
            raise DataError(
                f"Column {name!r} has numbers with a decimal comma, such as {vocabulary[0][:60]!r}; expected a point: "
                "write them as 1.5, or exclude it."
            )
        raise DataError(
            f"Column {name!r} is text with {len(vocabulary)} different values in {len(column)} rows, such as "
            f"{vocabulary[0][:60]!r}: an identifier or a date? Exclude it, or list it in categories."
        )
    _limit(name, len(vocabulary), MOST_CATEGORIES)
    if not vocabulary:
        raise DataError(f"Column {name!r} has no value in any train row: exclude it.")
    return vocabulary


def _limit(name: str, found: int, most: int) -> None:
    if found > most:
        raise DataError(
            f"Column {name!r} has {found} different values, expected at most {most} categories: exclude it."
        )


def require(frame: Any, names: Sequence[str], origin: str, what: str) -> None:
    """DataError for the first of `names` that the table lacks, with the closest columns there are."""
    for name in names:
        if name not in frame.columns:
            raise DataError(f"{origin} has no column {name!r}, which is {what}.{nearest(name, list(frame.columns))}")
