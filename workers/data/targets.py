"""What the targets of a study are: numbers to approach, or classes to tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.data.errors import DataError
from workers.data.parts import Task

FEW = 20  # distinct whole numbers in a table's column up to which these are taken for classes
MOST_CLASSES = 1000  # that an array of whole numbers may mean


@dataclass(frozen=True)
class Targets:
    """Targets of all parts together, in the form the model is trained on."""

    values: np.ndarray  # int64 class numbers or float32 numbers; class indicators stay as they were given
    task: Task | None
    labels: list[Any] | None  # of the classes, sorted

    @property
    def classes(self) -> int | None:
        return None if self.labels is None else len(self.labels)

    @property
    def strata(self) -> np.ndarray | None:
        """A class number per row to split by, (rows,), or None."""
        if self.labels is None:
            return None
        indicators = self.values.ndim == 2 and self.values.shape[1] > 1
        return np.argmax(self.values, axis=1) if indicators else self.values.reshape(len(self.values))


def column_targets(values: np.ndarray, name: str, task: Task | None) -> Targets:
    """Targets from a table's column without missing values (text, booleans or numbers)."""
    kind = _kind(values, name)
    if task is None:
        few = kind == "integer" and len(np.unique(values)) <= FEW
        task = "classification" if kind in {"text", "bool"} or few else "regression"
    if task == "classification":
        return encoded(values, name)
    if kind == "text":
        raise DataError(
            f"Target {name!r} is text such as {values[0]!r}: regression needs numbers; say task: classification."
        )
    return Targets(_finite(values, name), "regression", None)


def array_targets(values: np.ndarray, task: Task | None) -> Targets:
    """Targets from an array that user code made; class numbers 0..k-1 and class indicators are left as they are."""
    kind = _kind(values, "y")
    if values.ndim == 2 and values.shape[1] > 1:
        return _matrix(values, kind, task)
    flat = values.reshape(len(values)) if values.size == len(values) else None
    if flat is None:
        finite = values if kind == "text" else _finite(values, "y", keep=kind == "integer")
        return Targets(finite, task, None)
    if task == "regression" and kind != "text":
        return Targets(_finite(values, "y"), "regression", None)
    if kind == "integer" and (task == "classification" or _look_like_classes(flat)):
        highest = int(flat.max())
        if flat.min() >= 0 and highest < max(2 * len(np.unique(flat)), 2):
            return Targets(values.astype(np.int64), "classification", list(range(max(highest + 1, 2))))
    if kind in {"text", "bool"} or task == "classification":
        found = encoded(flat, "y")
        return Targets(found.values.reshape(values.shape), found.task, found.labels)
    return Targets(_finite(values, "y"), "regression", None)


def encoded(values: np.ndarray, name: str) -> Targets:
    """Class numbers for any sortable values: the place of each in the sorted list of the distinct ones."""
    labels, codes = np.unique(values, return_inverse=True)
    if len(labels) < 2:
        raise DataError(f"Target {name!r} is always {labels.tolist()[0]!r}: classification needs at least two classes.")
    if len(labels) > max(MOST_CLASSES, 0) or (len(labels) > FEW and len(labels) > len(values) / 2):
        raise DataError(
            f"Target {name!r} has {len(labels)} different values in {len(values)} rows, too many for classes: "
            "choose another target, or say task: regression for numbers."
        )
    return Targets(codes.reshape(len(values)).astype(np.int64), "classification", labels.tolist())


def _matrix(values: np.ndarray, kind: str, task: Task | None) -> Targets:
    if kind == "text":
        raise DataError(f"y has shape {values.shape} and holds text: expected one label per row, shape (rows,).")
    finite = _finite(values, "y", keep=kind == "integer")
    indicators = bool(np.isin(finite, (0, 1)).all() and (finite.sum(axis=1) == 1).all())
    if indicators and task != "regression":
        return Targets(finite, "classification", list(range(values.shape[1])))
    return Targets(finite, task or ("regression" if kind == "number" else None), None)


def _look_like_classes(flat: np.ndarray) -> bool:
    return bool(flat.min() >= 0 and flat.max() < MOST_CLASSES)


def _kind(values: np.ndarray, name: str) -> str:
    kinds = {"b": "bool", "i": "integer", "u": "integer", "f": "number", "U": "text", "O": "text", "T": "text"}
    kind = kinds.get(values.dtype.kind)
    if kind is None:
        raise DataError(f"Target {name!r} holds {values.dtype}: expected numbers, text or booleans.")
    return kind


def _finite(values: np.ndarray, name: str, *, keep: bool = False) -> np.ndarray:
    """The values as float32 (or as they are, with `keep`); refuses what is not a finite number."""
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        raise DataError(
            f"Target {name!r} is NaN or infinite in {bad} of {len(values)} rows: remove or repair these rows."
        )
    return values if keep else values.astype(np.float32)
