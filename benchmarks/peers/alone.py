"""Keras alone: one `fit` after the other in each of two processes, no tuner around it."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from benchmarks.peers.clock import RUNNERS, Course
from benchmarks.peers.processes import Outcome, in_processes
from benchmarks.peers.workloads import Workload


def fixed(workload: Workload, points: list[dict[str, Any]]) -> Outcome:
    """Train the configurations, every second one in each process."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(folder)
        shares = [points[number::RUNNERS] for number in range(RUNNERS)]
        answers = in_processes(_run, [(workload, share, course) for share in shares])
        errors = [0.0] * len(points)
        for number, (_, found) in enumerate(answers):
            errors[number::RUNNERS] = found
        return Outcome(max(end for end, _ in answers) - (course.started or 0.0), errors, {})


def _run(workload: Workload, points: list[dict[str, Any]], course: Course) -> tuple[float, list[float]]:
    from benchmarks.peers.keras_models import Networks

    networks = Networks(workload.data)
    networks.warm_up()
    course.wait()
    errors = [networks.error(point, workload.epochs) for point in points]
    return time.time(), errors
