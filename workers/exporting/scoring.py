"""What a finished model scores on the parts of the data, and how far such scores may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.data import Part
from workers.exporting.group_scores import GroupScores, Scorer, score_groups, standard_errors
from workers.failures import sentence_of
from workers.trials.feeding import Feed
from workers.trials.passage import numbers_of
from workers.trials.penalty import PenaltySplit


def evaluate(model: Any, parts: Mapping[str, Part | None]) -> dict[str, Any]:
    """Every metric of the model on each part, with `data_loss` and `penalty`.

    Returns:
        The metrics of each part by its name, None where the model has none; as `standard_errors` those of the metrics
        of each part that has them; and as `notes` sentences, where there are any.
    """
    split = PenaltySplit(model)  # one for all: Keras traces the model's test step once
    scores: dict[str, Any] = dict.fromkeys(parts)
    errors: dict[str, dict[str, float]] = {}
    notes = []
    for name, part in parts.items():
        if part is None:
            continue
        split.reset()
        try:
            metrics = model.evaluate(Feed(part, part, 1, 0).validation, return_dict=True, verbose=0)
            scores[name] = {**numbers_of(metrics), **split.take()}
            [values] = score_groups([GroupScores(Scorer(model, split))], part)
            errors[name] = standard_errors(values)
        except Exception as error:  # a model with a train step of its own need not be able to evaluate
            notes.append(f"The model could not be evaluated on the {name} part: {sentence_of(error)}")
    return {**scores, "standard_errors": errors, **({"notes": notes} if notes else {})}
