"""Python's garbage collector, kept from walking through what a process has for good."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection while much is made that stays: the imports of TensorFlow and Keras take a quarter less time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def settle() -> None:
    """When everything is imported: let no later collection walk through it, a million objects of libraries."""
    gc.collect()
    gc.freeze()
