"""The loss without the L1/L2 penalty, and the penalty alone (rule 9: rank on the data loss).

Keras adds every regularizer's penalty to `loss` and `val_loss`, so tuning lambda on them favours lambda = 0. Here
each batch's total loss, as `compute_loss` gives it, is split into the sum of `model.losses` (weight and activity
regularizers, `add_loss`) and the rest, and both are averaged over the epoch as Keras averages `loss`: weighted by
the number of rows.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras
from keras import ops


class PenaltySplit:
    """Watches one model's `compute_loss`.

    The model keeps its metrics and its saved form: the wrapper sits on the instance, the averages beside it.
    A model whose own train step never calls `compute_loss` has no split: `take` then gives nothing.
    """

    def __init__(self, model: keras.Model) -> None:
        self._data = keras.metrics.Mean(name="data_loss", dtype="float32")
        self._penalty = keras.metrics.Mean(name="penalty", dtype="float32")
        self._watch(model)

    def reset(self) -> None:
        """Begin an average."""
        self._data.reset_state()
        self._penalty.reset_state()

    def take(self) -> dict[str, float]:
        """`data_loss` and `penalty` since the last reset, or nothing when no loss was computed."""
        if float(self._data.count) == 0.0:
            return {}
        return {"data_loss": float(self._data.result()), "penalty": float(self._penalty.result())}

    def _watch(self, model: keras.Model) -> None:
        original = model.compute_loss
        signature = inspect.signature(original)

        @functools.wraps(original)
        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            total = original(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            rows = _rows(given.get("y_pred"), given.get("y"), given.get("x"))
            penalty = sum((ops.sum(ops.cast(loss, "float32")) for loss in model.losses), ops.zeros((), "float32"))
            self._data.update_state(ops.cast(total, "float32") - penalty, sample_weight=rows)
            self._penalty.update_state(penalty, sample_weight=rows)
            return total

        model.compute_loss = compute_loss


def _rows(*structures: Any) -> Any:
    """Rows of the batch, from the first array there is."""
    for structure in structures:
        for array in keras.tree.flatten(structure):
            if array is not None and len(array.shape) > 0:
                return ops.shape(array)[0]
    return 1
