"""What the peers are given: lists of configurations to train, and spaces to search."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

VARIATIONS = 16  # configurations that share a structure
WARM_DEPTH = 5  # of the network that is trained before the clock starts: none of the measured ones
ACTIVATIONS, OPTIMIZERS = ("relu", "tanh", "elu", "gelu"), ("adam", "rmsprop", "adamw")


@dataclass(frozen=True)
class Workload:
    """A fixed list of configurations on one data set; no pruning, no early stopping."""

    name: str
    data: str  # a function of data.py
    depth: tuple[int, int]
    width: tuple[int, int]
    epochs: int
    batch: int
    trials: int  # of Ockham
    peer_trials: int  # of each peer, spread over the list
    peers: tuple[str, ...]
    tolerance: (
        float  # of the median difference in validation error between Ockham and a peer on the same configurations
    )

    def points(self, count: int) -> list[dict[str, Any]]:
        """The list: every `VARIATIONS` of them share depth, width, activation and optimizer."""
        draw = random.Random(0)
        (shallow, deep), (narrow, wide) = self.depth, self.width
        points: list[dict[str, Any]] = []
        while len(points) < count:
            structure = {
                "depth": draw.randint(shallow, deep),
                "width": int(narrow * (wide / narrow) ** draw.random()),
                "activation": draw.choice(ACTIVATIONS),
                "optimizer": draw.choice(OPTIMIZERS),
            }
            for _ in range(VARIATIONS):
                numbers = {"learning_rate": 10 ** draw.uniform(-4, -2), "l2": 10 ** draw.uniform(-6, -2)}
                points.append({**structure, **numbers, "l1": 0.0, "dropout": 0.0, "batch_size": self.batch})
        return points[:count]


TOOLS = ("keras_tuner", "optuna", "ray_tune")
WORKLOADS = {
    item.name: item
    for item in (
        Workload("digits", "digits", (1, 4), (16, 128), 20, 32, 512, 24, TOOLS, tolerance=0.01),
        Workload("adult", "adult", (1, 4), (64, 256), 10, 32, 64, 8, TOOLS, tolerance=0.01),
        # One network of 4 x 1047, 4.1 million weights; the peer is Keras' fit alone.
        Workload("large", "fashion", (3, 4), (900, 1100), 3, 128, 8, 8, ("alone",), tolerance=0.02),
    )
}


@dataclass(frozen=True)
class Search:
    """A data set to search on. The score is the validation loss without the penalty, per row: smaller is better."""

    data: str  # a function of data.py
    task: str  # "classification" or "regression"
    epochs: int = 50  # of a trial at most
    patience: int = 10  # epochs without a better score before a trial ends by itself


SEARCHES = {
    "digits": Search("digits", "classification"),
    "segmentation": Search("segmentation", "classification"),
    "california": Search("california", "regression"),
}

RANGES = {"learning_rate": (1e-4, 1e-1), "l1": (1e-7, 1e-2), "l2": (1e-7, 1e-1)}  # log-uniform
DEPTH, WIDTH, DROPOUT, BATCHES = (1, 4), (16, 256), (0.0, 0.5), (32, 64, 128)
"""With ACTIVATIONS and OPTIMIZERS the space that everyone searches; the width is log-uniform."""

WARM_POINT: dict[str, Any] = {
    "depth": WARM_DEPTH,
    "width": 32,
    "activation": "relu",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "l1": 0.0,
    "l2": 1e-5,
    "dropout": 0.0,
    "batch_size": 64,
}
