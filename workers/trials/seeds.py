"""One seed per trial, for every generator that its code may draw from."""

from __future__ import annotations

import random
import sys

import numpy


def set_seeds(seed: int, *, keras: bool = False) -> None:
    """Seed Python, NumPy and, when asked or already loaded, Keras with TensorFlow.

    Args:
        seed: any non-negative integer; NumPy takes its lowest 32 bits.
        keras: import Keras for this if it is not loaded yet.
    """
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if keras or "keras" in sys.modules:
        from keras.utils import set_random_seed

        set_random_seed(seed % 2**32)
