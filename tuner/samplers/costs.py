"""What a trial of the `mlp` family costs beside others: a search for the best within a time asks for gain per cost.

Relative, and computed from the point alone: a measured time would make proposals depend on what else the machine did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from search_spaces import Space

Cost = Callable[[Mapping[str, Any]], float]
"""What an epoch of the trial with these parameters costs, in any unit."""

_EACH_STEP = 20_000  # a step costs as much as so many weights, whatever is in it (docs/measurements.md)
_EACH_WEIGHT = 60  # optimizer and penalty cost a weight as much as so many rows of a batch
_INPUTS = 64  # of data whose shape the dry run does not tell


def cost_of(space: Space, data: Mapping[str, Any]) -> Cost | None:
    """The costs of the trials of a study; None where nothing is known about them.

    Args:
        space: what is searched.
        data: what the dry run found out about the data.
    """
    if space.family != "mlp":
        return None
    ends = _numbers(data.get("input_shape") or (_INPUTS,)) + (data.get("classes") or 1)

    def cost(params: Mapping[str, Any]) -> float:
        width, batch = params["width"], params["batch_size"]
        weights = width * (ends + (params["depth"] - 1) * width)
        return float((_EACH_STEP + weights * (_EACH_WEIGHT + batch) / (_EACH_WEIGHT + 32)) / batch)

    return cost


def _numbers(shape: Any) -> int:
    """How many numbers a row has: of one input by the lengths of its axes, of several by name or in order."""
    parts = list(shape.values()) if isinstance(shape, Mapping) else list(shape)
    if any(isinstance(part, (Mapping, list, tuple)) for part in parts):
        return sum(map(_numbers, parts))
    return prod(length or 1 for length in parts)
