"""Handwritten digits: 1,797 grey images of 8 x 8 pixels in 10 classes, the data of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data" / "digits.csv.gz"

Part = tuple[NDArray[np.float32], NDArray[np.int64]]


def load() -> tuple[Part, Part, Part]:
    """The train, validation and test parts (1,079, 359 and 359 rows), the same rows on every call.

    Returns:
        Three pairs (x, y). `x`: float32 (rows, 8, 8), brightness from 0 to 1. `y`: int64 (rows,), the digit.
    """
    table = np.loadtxt(DATA, delimiter=",", skiprows=1, dtype=np.int64)
    # The rows lie in the order of the writers; RandomState promises this shuffle in every version of NumPy.
    table = table[np.random.RandomState(seed=0).permutation(len(table))]
    x = (table[:, :64].reshape(-1, 8, 8) / 16).astype(np.float32)
    y = table[:, 64]
    held_out = len(table) // 5
    train, validation = len(table) - 2 * held_out, len(table) - held_out
    return (x[:train], y[:train]), (x[train:validation], y[train:validation]), (x[validation:], y[validation:])
