"""How a trial is doing: its best epoch so far, and whether its patience is exhausted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.contract import Training
from workers.failures import NonFinite


class ObjectiveMissing(ValueError):
    """The metrics of an epoch do not hold the study's objective."""


@dataclass
class Progress:
    """Best value of the objective so far. Only finite values can be the best one."""

    epoch: int = 0  # epochs finished
    best_epoch: int | None = None
    best_value: float | None = None
    steps: int = 0  # that the optimizer has made; Keras' own counts them itself

    def update(self, training: Training, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take in one epoch; returns whether it is the best so far. Raises `ObjectiveMissing`."""
        self.epoch = epoch
        if training.objective not in metrics:
            logged = ", ".join(sorted(metrics)) or "nothing"
            raise ObjectiveMissing(
                f"The objective {training.objective!r} is not among the metrics of epoch {epoch}: {logged}. "
                "Choose one of these as the objective, or log it."
            )
        value = metrics[training.objective]
        better = self.best_value is None or (
            value < self.best_value if training.direction == "minimize" else value > self.best_value
        )
        if better and math.isfinite(value):
            self.best_epoch, self.best_value = epoch, value
            return True
        return False

    def over(self, training: Training) -> bool:
        """Whether the trial ends by itself now: all epochs are done, or `patience` epochs brought nothing better."""
        waited = self.epoch - (self.best_epoch or 0)
        return self.epoch >= training.epochs or (training.patience is not None and waited >= training.patience)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def require_finite(training: Training, epoch: int, metrics: Mapping[str, float]) -> None:
    """Raise `NonFinite` when the training loss or the objective of this epoch is NaN or infinite."""
    for name in ("loss", training.objective):
        if not math.isfinite(metrics.get(name, 0.0)):
            raise NonFinite(f"{name} was {metrics[name]} after epoch {epoch}.")
