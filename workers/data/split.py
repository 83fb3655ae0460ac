"""Which rows train, which validate and which are kept for the test: seeded, the same in every process."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workers.data.errors import DataError

FEWEST_HELD_BACK = 50  # rows: the standard error of an accuracy of 0.9 is 0.04 there, and tells little apart


class Fold(NamedTuple):
    """One of the equal parts into which the rows besides the test part are divided; the others train."""

    number: int  # from 0
    of: int


def split(
    rows: int, validation: float | Fold, test: float, seed: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the train, validation and test part, each in random order.

    `validation` and `test` are shares of `rows`, or `validation` is a fold: over all folds each row that is not held
    for the test validates once. With `classes` (rows,) every class gives about these shares of its own rows: the rows,
    shuffled and sorted by class, are picked at even distances.
    """
    random = np.random.default_rng([seed, rows])
    order = random.permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    order, held = _pick(order, test)
    if isinstance(validation, Fold):
        picked = np.arange(len(order)) % validation.of == validation.number
        order, chosen = order[~picked], order[picked]
    else:
        order, chosen = _pick(order, validation / (1.0 - test))
    return random.permutation(order), random.permutation(chosen), random.permutation(held)


def hold_back(rows: int, share: float, seed: int, classes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of a validation part that rank trials, and of those that are held back; otherwise like `split`.

    Raises:
        DataError: too few rows would be held back for a score.
    """
    ranking, held, _ = split(rows, share, 0.0, seed, classes)
    if len(held) < FEWEST_HELD_BACK:
        raise DataError(
            f"data.held_back: {share:g} of the {rows} validation rows are {len(held)}; a score needs at least "
            f"{FEWEST_HELD_BACK}. Give more validation rows or a test part, or remove held_back."
        )
    return ranking, held


def _pick(order: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """`order` without every (1/share)-th element, and those elements."""
    steps = np.floor(np.arange(len(order) + 1) * share + 1e-9)  # 0.2 * 15 is a little below 3
    picked = np.diff(steps) > 0
    return order[~picked], order[picked]
