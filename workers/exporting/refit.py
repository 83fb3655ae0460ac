"""The chosen configuration, trained once more on the training and the validation rows together.

As often as the trial saw its training rows until it was best: with all rows used for training, nothing is left that
could say when to stop. The encoding of columns and targets stays that of the training rows, so that nothing but the
weights is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from workers.contract import Training
from workers.data import Part, Parts
from workers.data.pieces import Piece, joined
from workers.failures import NonFinite
from workers.trials import keras_files, models
from workers.trials.feeding import Feed
from workers.trials.seeds import set_seeds
from workers.trials.training import BATCH_SIZE, build_metrics, steps_are_ours, steps_per_execution, work_per_row


class RefitRefused(ValueError):
    """The trial cannot be trained once more. One sentence."""


def refitted(training: Training, trial: Mapping[str, Any], parts: Parts, rows: Part, epochs: int) -> Any:
    """A new model of the trial, trained on `rows` alone.

    Args:
        training: the study's.
        trial: its `params` and its `seed`.
        parts: the study's data, for which the model is built.
        rows: what to train on, as `together` makes it.
        epochs: how often.

    Raises:
        RefitRefused: its HyperModel has a fit of its own.
        NonFinite: the training diverged.
    """
    set_seeds(trial["seed"], keras=True)
    built = models.build(training, trial["params"], parts)
    if built.fit is not None:
        raise RefitRefused("The HyperModel has a fit of its own, so only it knows how to train its model again.")
    model, batch_size = built.model, int(trial["params"].get("batch_size", BATCH_SIZE))
    feed = Feed(rows, parts.validation, batch_size, training.seed)
    if steps_are_ours(model):
        model.steps_per_execution = steps_per_execution(work_per_row(model), batch_size)
    keras_files.build_variables(model, parts)
    build_metrics(model, feed.train.element_spec)
    order = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: feed.begin(epoch))  # noqa: ARG005
    model.fit(feed.train, epochs=epochs, shuffle=False, verbose=0, callbacks=[order])
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise NonFinite(f"After {epochs} epochs on all rows the weights of the model are not finite.")
    return model


def together(train: Part, validation: Part) -> Part:
    """The rows of both. A weight that one of them lacks is 1. Raises RefitRefused where they are of different forms."""
    try:
        if train.dataset is not None:
            count = None if train.rows is None or validation.rows is None else train.rows + validation.rows
            return Part(dataset=train.dataset.concatenate(validation.dataset), rows=count)
        rows = joined(*(Piece(part.x, part.y, part.weight) for part in (train, validation)))
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise RefitRefused(f"The training and the validation part do not go together: {error}") from error
    return Part(rows.x, rows.y, rows.weight, rows=rows.rows)
