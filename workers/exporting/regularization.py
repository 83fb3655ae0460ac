"""`python -m workers.exporting.regularization`: what regularization left of finished trials' models.

Reads one JSON object on stdin and prints one JSON line on stdout; all else, user code's prints too, goes to stderr.

    {"training": Training as JSON, "artifact_root": DIR,
     "trials": [{"trial": 17, "params": {...}, "seed": 7, "key": KEY, "sha256": SUM}, ...]}
    {"ok": true, "models": [{"layers": [Layer as JSON, ...],                      one for each trial, in their order
                             "training": {metric: [value per group, ...]},
                             "zeroed": [[share, {metric: [value per group, ...]}], ...]}, ...]}
    {"ok": false, "error": "One sentence."}                                       and exit code 1

How many weights a model can do without is tried: the smallest ones of all kernels are set to zero, global magnitude
pruning (Blalock, Gonzalez Ortiz, Frankle and Guttag 2020, "What is the State of Neural Network Pruning?", section 7),
and the model is scored again on the same groups of validation rows. How small a weight has to be to count as zero would
be a guess: Keras' optimizers take an L1 penalty's gradient, so weights that it holds down jump about zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.data import Part, Parts
from workers.exporting.answering import answer
from workers.exporting.finished import models_of
from workers.exporting.layer import Layer

if TYPE_CHECKING:
    from workers.exporting.group_scores import Scorer

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Of all kernels' weights, how many are set to zero."""

ROWS = 1000  # at most, of the validation part, on which a unit has to say the same to count as constant
SAME = 1e-6  # of a layer's largest output: a unit that moves less is constant
NO_KERNELS = ("bias", "alpha")  # of attention heads, and PReLU's slopes of pictures: these have several axes too
ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax")


def look(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `request` asks for, without "ok". The test part is not read. Raises what is in the way."""
    models = []
    for model, parts in models_of(request):
        layers = [asdict(layer) for layer in layers_of(model, parts.validation)]
        models.append({"layers": layers, **scored(model, parts)})
    return {"models": models}


def layers_of(model: Any, part: Part) -> list[Layer]:
    """The model's layers in order, those of nested models in their place; `part`: rows to give it."""
    outputs = _outputs(model, part)
    layers = []
    for layer in _flat(model):
        kernel = np.concatenate([np.zeros(0), *(np.asarray(weight).ravel() for weight in _kernels(layer))])
        weights = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)
        if not weights and type(layer).__name__ not in ACTIVATIONS:
            continue
        output = outputs.get(layer.name)
        layers.append(
            Layer(
                name=layer.name,
                kind=type(layer).__name__,
                weights=weights,
                kernel=kernel.size,
                rms=float(np.sqrt(np.mean(kernel**2))) if kernel.size else None,
                units=None if output is None else output.shape[-1],
                constant=None if output is None else _constant(output),
            )
        )
    return layers


def scored(model: Any, parts: Parts) -> dict[str, Any]:
    """What the model scores on rows that it was trained on, about as many as validate, and with ever more zeros."""
    from workers.exporting.group_scores import GroupScores, Scorer, score_groups
    from workers.trials.penalty import PenaltySplit

    scorer = Scorer(model, PenaltySplit(model))
    without = zeroed(model, scorer, parts.validation)
    groups = max((len(values) for values in without[0][1].values()), default=0)
    [training] = score_groups([GroupScores(scorer)], _some(parts.train, parts.validation.rows, groups))
    return {"training": training, "zeroed": without}


def _some(part: Part, rows: int | None, batches: int) -> Part:
    """At most so many rows of the part, drawn at random, or so many batches of a dataset."""
    import tensorflow as tf

    if part.dataset is not None:
        return Part(dataset=part.dataset.take(batches))
    count = len(tf.nest.flatten(part.x)[0])
    chosen = np.random.default_rng(0).permutation(count)[: rows or count]
    weight = None if part.weight is None else part.weight[chosen]
    x, y = tf.nest.map_structure(lambda array: array[chosen], (part.x, part.y))
    return Part(x, y, weight, rows=len(chosen))


def zeroed(model: Any, scorer: Scorer, part: Part) -> list[tuple[float, dict[str, list[float]]]]:
    """What the model scores on each group of the part's rows, by metric, with each of `SHARES` of its weights zero.

    The model, whose scorer it is, has its own weights again afterwards.
    """
    from workers.exporting.group_scores import GroupScores, score_groups

    kernels = [kernel for layer in _flat(model) for kernel in _kernels(layer)]
    whole = [np.array(kernel) for kernel in kernels]

    def assign(values: Sequence[np.ndarray]) -> None:
        for kernel, value in zip(kernels, values, strict=True):
            kernel.assign(value)

    pruned = [_without_smallest(whole, share) for share in SHARES]
    try:
        found = score_groups([GroupScores(scorer, partial(assign, values)) for values in pruned], part)
    finally:
        assign(whole)
    return list(zip(SHARES, found, strict=True))


def _without_smallest(kernels: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """The kernels, whose smallest weights are zero: so many of all."""
    if not kernels:
        return []
    flat = np.concatenate([kernel.ravel() for kernel in kernels])
    count = int(share * flat.size)
    flat[np.argpartition(np.abs(flat), count)[:count]] = 0.0
    ends = np.cumsum([kernel.size for kernel in kernels])[:-1]
    return [part.reshape(kernel.shape) for part, kernel in zip(np.split(flat, ends), kernels, strict=True)]


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield from _flat(layer) if _is_model(layer) else [layer]


def _is_model(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.Model)


def _kernels(layer: Any) -> list[Any]:
    """What connects: weights with an input and an output axis. Biases, scales and slopes are left alone."""
    return [weight for weight in layer.trainable_weights if len(weight.shape) > 1 and weight.name not in NO_KERNELS]


def _outputs(model: Any, part: Part) -> dict[str, np.ndarray]:
    """By the layer's name what it gives for some rows; nothing of a model whose graph Keras does not know."""
    import keras
    import tensorflow as tf

    graph = getattr(model, "_functional", model)  # a Sequential's
    calls = chain(*getattr(graph, "_nodes_by_depth", {}).values())  # of this model: a layer may be in several
    known = {call.operation.name: call.outputs[0] for call in calls if not _is_model(call.operation)}
    tensors = {name: output for name, output in known.items() if _has_units(output)}
    if not tensors:
        return {}
    x = next(iter(part.dataset))[0] if part.dataset is not None else part.x
    rows = tf.nest.map_structure(lambda array: tf.convert_to_tensor(array[:ROWS]), x)  # Keras knows no arrays of text
    found = keras.Model(model.inputs, tensors).predict(rows, verbose=0)
    return {name: np.asarray(output, dtype="float32") for name, output in found.items()}


def _has_units(output: Any) -> bool:
    shape: Sequence[int | None] | None = getattr(output, "shape", None)
    return shape is not None and len(shape) > 1 and "float" in str(output.dtype)


def _constant(output: np.ndarray) -> int:
    by_unit = output.reshape(-1, output.shape[-1])
    return int(np.sum(np.ptp(by_unit, axis=0) <= SAME * np.max(np.abs(by_unit), initial=0.0)))


if __name__ == "__main__":
    raise SystemExit(answer(look))
