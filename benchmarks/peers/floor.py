"""The arithmetic's floor of a list of configurations: the time that its multiplications and additions alone take.

They are counted, and divided by the rate at which plain matrix products of the same shapes run on one core (NumPy's
BLAS, one thread): per layer the product forwards, the one for the kernel's gradient and, but for the first layer, the
one for the inputs' gradient. Activations, losses, penalties and optimizers are left out, so nothing reaches the floor.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers import data
from benchmarks.peers.workloads import VARIATIONS, Workload

TRIES, TRY_SECONDS = 3, 0.005
EVALUATION_ROWS = 512  # per batch of an evaluation

Shape = tuple[int, int, int]  # rows, inner, columns of a product


def floor(workload: Workload, points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """`core_seconds`, `multiply_adds` and `rate` (multiply-adds per second of one core) of the list's training."""
    (x, y), (held_out, _) = getattr(data, workload.data)()[:2]
    widths = int(x.shape[1]), int(y.max()) + 1
    work: Counter[Shape] = Counter()  # multiply-adds by the shape of the product
    for point in points:
        dims = [widths[0], *[point["width"]] * point["depth"], widths[1]]
        for layer, (inputs, outputs) in enumerate(pairwise(dims)):
            products = [(workload.batch, inputs, outputs), (inputs, workload.batch, outputs)]
            products += [(workload.batch, outputs, inputs)] if layer else []
            for shape in products:
                work[shape] += workload.epochs * len(x) * inputs * outputs
            work[(EVALUATION_ROWS, inputs, outputs)] += workload.epochs * len(held_out) * inputs * outputs
    with threadpool_limits(1):
        seconds = sum(amount / _rate(shape) for shape, amount in work.items())
    total = float(sum(work.values()))
    return {"core_seconds": seconds, "multiply_adds": total, "rate": total / seconds}


def _rate(shape: Shape) -> float:
    """Multiply-adds per CPU second of products of this shape, the best of a few tries."""
    rows, inner, columns = shape
    members = max(1, min(VARIATIONS, 1_000_000 // (inner * columns)))
    a = np.ones((members, rows, inner), np.float32)
    b = np.ones((members, inner, columns), np.float32)
    out = np.empty((members, rows, columns), np.float32)
    best = 0.0
    for _ in range(TRIES):
        calls, begin = 0, time.process_time()
        while (passed := time.process_time() - begin) < TRY_SECONDS:
            np.matmul(a, b, out=out)
            calls += 1
        best = max(best, calls * members * rows * inner * columns / passed)
    return best
