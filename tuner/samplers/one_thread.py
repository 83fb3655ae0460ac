"""Linear algebra on one thread: beside training, which has the cores, two threads take ten times as long as one."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """While it is open, NumPy and SciPy, if they are loaded, compute on the thread that asks them."""
    limits: AbstractContextManager[Any] = _pools("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
    return limits


@cache
def _pools(with_scipy: bool) -> Any:  # noqa: ARG001  # SciPy has a pool of its own, known once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
