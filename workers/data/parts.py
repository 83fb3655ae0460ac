"""The data of a study as training code sees it: a train, a validation and perhaps a test part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Task = Literal["classification", "regression"]


class Part:
    """Rows to train on, to validate with or to test with.

    `x`: an array, or a dict or tuple of arrays for several inputs; for a table the encoded float32 matrix
    (rows, width), made by the preprocessing layers when first asked for and kept.
    `y`: int64 class numbers (rows,) or float32 numbers (rows,); of a function also class indicators (rows, classes),
    several outputs, or whatever else it gave.
    `weight`: float32 (rows,) or None. `columns`: the raw columns of a table (name -> (rows,)), None otherwise.
    `dataset`: a batched tf.data.Dataset; then `x`, `y` and `weight` are None. `rows`: None if a dataset does not say.
    """

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        weight: np.ndarray | None = None,
        *,
        rows: int | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        encode: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None,
        dataset: Any = None,
    ) -> None:
        self.y, self.weight, self.rows, self.columns, self.dataset = y, weight, rows, columns, dataset
        self._x, self._encode = x, encode

    @property
    def x(self) -> Any:
        if self._x is None and self.columns is not None and self._encode is not None:
            self._x = self._encode(self.columns)
        return self._x


@dataclass(frozen=True)
class Parts:
    """All data of a study. The test part is for promotion alone: nothing that trains or chooses may read it."""

    train: Part
    validation: Part
    test: Part | None
    task: Task | None  # None: the targets do not say, for example several outputs
    classes: int | None  # number of classes, for classification
    labels: list[Any] | None  # what class 0, 1, ... is called (text, whole numbers or booleans), sorted
    input_shape: Any  # without the batch axis: a tuple, or a dict or tuple of them for several inputs
    preprocessing: dict[str, Any] | None  # plain JSON state of a table's encoding, see workers/data/preprocessing.py
    fingerprint: str  # SHA-256 of the content: equal data, equal fingerprint
    notes: dict[str, Any] = field(default_factory=dict)  # facts for people: features, missing values, ...

    @property
    def rows(self) -> dict[str, int | None]:
        """Rows per part that exists."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part.rows for name, part in parts.items() if part is not None}

    def describe(self) -> dict[str, Any]:
        """JSON for a dry run's report."""
        return {
            "rows": self.rows,
            "task": self.task,
            "classes": self.classes,
            "labels": self.labels,
            "input_shape": self.input_shape,
            "fingerprint": self.fingerprint,
            **self.notes,
        }
