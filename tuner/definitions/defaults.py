"""Defaults that follow from another field of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]

_LARGER_IS_BETTER = re.compile(
    r"accuracy|(^|_)acc($|_)|auc|precision|recall|f1|f_?beta|f_?score|r2|r_squared|cosine|(^|_)(io_?u|dice|kappa|mcc|ndcg|map|bleu|"
    r"reward|score|likelihood)($|_)|specificity|sensitivity|true_(positives|negatives)|correlation"
)
_SMALLER_IS_BETTER = re.compile(r"loss|error|(^|_)(mse|mae|rmse|mape|msle)($|_)|penalty")


def direction_of(objective: str) -> Direction:
    """Whether a metric of this name is better when large or small. A loss or an error is small, also `auc_loss`."""
    name = objective.lower()
    larger = _LARGER_IS_BETTER.search(name) and not _SMALLER_IS_BETTER.search(name)
    return "maximize" if larger else "minimize"


def pruner_of(epochs: int) -> str:
    """The pruner of a study whose trials train for so many epochs: a single one leaves nothing to prune."""
    return "asha" if epochs > 1 else "none"


def grace_of(epochs: int) -> int:
    """Epochs before a trial may be pruned: fewer than it trains for."""
    return min(2, max(1, epochs - 1))


def usual_failures(trials: int) -> int:
    """How many trials of so many may fail before the study does, where nobody says."""
    return max(5, trials // 4)


def following(study: Mapping[str, Any]) -> dict[str, Any]:
    """What these fields are where nobody gave them. `study`: all fields of one."""
    return {
        "direction": direction_of(study["objective"]),
        "pruner": pruner_of(study["epochs"]),
        "grace": grace_of(study["epochs"]),
        "repeats": (study["data"] or {}).get("folds") or 1,
        "max_failures": usual_failures(study["trials"]),
    }
