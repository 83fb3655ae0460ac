"""From tf.data datasets that a user's function made to the parts of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from workers.data.errors import DataError
from workers.data.options import Options
from workers.data.parts import Part, Parts
from workers.data.targets import MOST_CLASSES, Targets


def parts_from_datasets(given: Mapping[str, Any], options: Options, origin: str) -> Parts:
    """Check the datasets and read the train part's targets once where their type says that these may be classes.

    The fingerprint covers the types, shapes and numbers of batches, not the rows: reading all of them could take long.
    """
    if options.held_back is not None:
        raise DataError(
            f"data.held_back: {origin} returned tf.data datasets, whose rows cannot be told apart: expected arrays, or "
            "a third dataset as the test part."
        )
    specs = {part: _checked_spec(dataset, part, origin) for part, dataset in given.items()}
    targets, rows = _targets(given["train"], specs["train"][1], options)
    parts = {part: Part(dataset=dataset, rows=_rows(dataset, specs[part][1])) for part, dataset in given.items()}
    parts["train"].rows = rows if rows is not None else parts["train"].rows
    forms = {part: (str(spec), int(given[part].cardinality())) for part, spec in specs.items()}
    return Parts(
        train=parts["train"],
        validation=parts["validation"],
        test=parts.get("test"),
        task=targets.task,
        classes=targets.classes,
        labels=targets.labels,
        input_shape=_map(lambda spec: tuple(spec.shape)[1:], specs["train"][0]),
        preprocessing=None,
        fingerprint=hashlib.sha256(json.dumps([origin, forms], sort_keys=True).encode()).hexdigest(),
        notes={"source": origin, "batches": {part: count for part, (_, count) in forms.items()}},
    )


def _checked_spec(dataset: Any, part: str, origin: str) -> Any:
    place = f"The {part} dataset of {origin}"
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in {2, 3}:
        raise DataError(f"{place} yields {type(spec).__name__}, expected (x, y) or (x, y, weight).")
    count = int(dataset.cardinality())
    if count == 0:
        raise DataError(f"{place} is empty: expected at least one batch.")
    if count == -1:  # tf.data.INFINITE_CARDINALITY
        raise DataError(f"{place} never ends: remove .repeat(), or limit an epoch with .take(batches).")
    for leaf in _leaves(spec):
        if leaf.shape.rank == 0:
            raise DataError(f"{place} yields single rows: expected batches, as from .batch(32).")
    return spec


def _targets(dataset: Any, spec: Any, options: Options) -> tuple[Targets, int | None]:
    """The task, the classes and the number of rows, as far as types or one pass over the targets say them."""
    none = np.empty(0)
    if not hasattr(spec, "shape") or spec.dtype.is_floating:
        width = spec.shape[-1] if hasattr(spec, "shape") and spec.shape.rank == 2 else None
        if options.task == "classification" and width and width > 1:
            return Targets(none, "classification", list(range(width))), None
        numbers = hasattr(spec, "shape") and options.task is None
        return Targets(none, "regression" if numbers else options.task, None), None
    if options.task == "regression" or spec.shape.rank not in {1, 2} or (spec.shape.rank == 2 and spec.shape[-1] != 1):
        return Targets(none, options.task, None), None
    rows, highest, lowest = 0, 0, 0
    for y in dataset.map(lambda *row: row[1]).as_numpy_iterator():
        if y.dtype == object:
            raise DataError("The train dataset's targets are text: expected class numbers from 0 up.")
        rows, highest, lowest = rows + len(y), max(highest, int(y.max())), min(lowest, int(y.min()))
    if lowest < 0 or highest >= MOST_CLASSES:
        return Targets(none, options.task or "regression", None), rows
    return Targets(none, "classification", list(range(max(highest + 1, 2)))), rows


def _rows(dataset: Any, spec: Any) -> int | None:
    batch, count = _leaves(spec)[0].shape[0], int(dataset.cardinality())
    return batch * count if batch is not None and count > 0 else None


def _leaves(spec: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(spec))


def _map(function: Any, spec: Any) -> Any:
    if isinstance(spec, Mapping):
        return {key: _map(function, item) for key, item in spec.items()}
    if isinstance(spec, tuple | list):
        return tuple(_map(function, item) for item in spec)
    return function(spec)
