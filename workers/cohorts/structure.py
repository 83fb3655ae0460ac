"""What a stack asks of the models it holds: two kinds answer, `family` for the `mlp` family and `lifted` for any other.

A member is a row of numbers: its weights (W,), and the slots that its optimizer keeps. K members are matrices (K, W).
Members of equal structure differ in their rows and in their `hyper`, the numbers that were lifted out of their models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from workers.cohorts.batches import Batches

_LONGEST = 2e9
"""Multiplications that a batch may cost all members of a stack that shares it, about a second on a core: a slice ends
between two batches."""

BYTES_PER_WEIGHT = 48
"""Of a member: its weights, its best ones, up to three slots, and once more while a step makes new ones."""

MOST_ACTIVATIONS = 2**24
"""Numbers that a batch leaves in the layers of all members of a stack, 64 MiB: a limit for memory, not for speed."""

Rows = tuple[Any, ...]
"""The weights of a stack (K, W) and its optimizer's slots (K, ...)."""


class Structure(Protocol):
    """What members of one stack have in common. Equal values can share a stack; the compiled program is shared too."""

    @property
    def label(self) -> str:
        """The program's name, for people."""
        ...

    @property
    def limit(self) -> str:
        """Why a stack holds no more than `most` members, for people."""
        ...

    @property
    def width(self) -> int:
        """How many members to compute at once: of more, some are computed after the others, which is faster."""
        ...

    @property
    def most(self) -> int:
        """How many members a stack may hold: `width`, or more where that spares them a pass over a dataset."""
        ...

    def training(self, epoch: int, members: int) -> Iterator[Batches]:
        """An epoch that counts from 0, for one call after the other: between two calls a slice can end."""
        ...

    def validation(self, members: int) -> Iterator[Batches]:
        """What an epoch is evaluated on, likewise."""
        ...

    def begin(self, members: int) -> Any:
        """What an epoch's training or its evaluation adds up, before its first batch: (K, ...)."""
        ...

    def train(self, rows: Rows, hyper: Any, batches: Batches, done: int, sums: Any) -> tuple[Rows, Any]:
        """Train on these batches, after `done` steps; new rows and sums."""
        ...

    def evaluate(self, weights: Any, hyper: Any, batches: Batches, sums: Any) -> Any:
        """Evaluate on these batches; new sums."""
        ...

    def results(self, trained: Any, checked: Any) -> list[dict[str, float]]:
        """The metrics that Keras would report, per member, of the sums of a training and of an evaluation."""
        ...

    def shapes(self) -> list[tuple[int, ...]]:
        """Of a member's weights, best weights and slots."""
        ...

    def arrays(self, row: np.ndarray) -> list[np.ndarray]:
        """A member's weights (W,) as `keras.Model.set_weights` takes them."""
        ...


def sharing(work: float) -> int:
    """How many members may share the batches of a dataset. `work`: multiplications that a batch costs a member."""
    return max(1, int(_LONGEST / work))


def named(metric: str, data: float, penalty: float, rest: dict[str, float]) -> dict[str, float]:
    """An epoch's metrics of one part of the data. `metric`: what stands in front of their names."""
    return {f"{metric}{name}": value for name, value in
            {"loss": data + penalty, **rest, "data_loss": data, "penalty": penalty}.items()}  # fmt: skip
