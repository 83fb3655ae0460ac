"""Arrays of some rows: several inputs or outputs are dicts or tuples of arrays with a row per example each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Piece:
    """Arrays of some rows."""

    x: Any
    y: Any
    weight: np.ndarray | None

    @property
    def rows(self) -> int:
        return len(leaves(self.x)[0])

    def take(self, rows: np.ndarray) -> Piece:
        weight = None if self.weight is None else self.weight[rows]
        return Piece(
            map_leaves(lambda array: array[rows], self.x), map_leaves(lambda array: array[rows], self.y), weight
        )


def leaves(value: Any) -> list[Any]:
    """The arrays of a nested structure of dicts and tuples, in Keras' order (dict keys sorted)."""
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """The same structure with every array replaced."""
    if isinstance(value, Mapping):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map_leaves(function, item) for item in value)
    return function(value)


def joined(first: Piece, second: Piece) -> Piece:
    """The rows of both. A weight that one of them lacks is 1."""
    x, y = (_concatenated(*both) for both in ((first.x, second.x), (first.y, second.y)))
    if first.weight is None and second.weight is None:
        return Piece(x, y, None)
    weights = [np.ones(piece.rows, np.float32) if piece.weight is None else piece.weight for piece in (first, second)]
    return Piece(x, y, np.concatenate(weights))


def _concatenated(first: Any, second: Any) -> Any:
    if isinstance(first, Mapping):
        return {key: _concatenated(item, second[key]) for key, item in first.items()}
    if isinstance(first, tuple):
        return tuple(_concatenated(*both) for both in zip(first, second, strict=True))
    return np.concatenate([first, second])
