"""When a peer's clock starts, and what it has found since: both kept in files, the same way for every peer.

A peer has two runners (processes or actors). Each imports its libraries, loads the data, trains one network of a shape
that is not measured, and then waits for the other: the clock starts when the last one has arrived.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

RUNNERS = 2
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Course:
    """One run of a peer: a folder of its own, which all its processes know."""

    folder: str

    def wait(self) -> None:
        """Say that this runner is warm, and return when all are."""
        path = Path(self.folder, f"ready-{os.getpid()}")
        path.with_suffix(".new").write_text(repr(time.time()))
        path.with_suffix(".new").rename(path)
        while self.started is None:
            time.sleep(LOOK_SECONDS)

    @property
    def started(self) -> float | None:
        """When the clock started, in seconds since the epoch; None while a runner is missing."""
        arrived = [float(path.read_text()) for path in Path(self.folder).glob("ready-*") if not path.suffix]
        return max(arrived) if len(arrived) == RUNNERS else None

    def record(self, score: float) -> None:
        """Write down what an epoch of some trial scored, now."""
        with Path(self.folder, f"scores-{os.getpid()}").open("a") as file:
            file.write(f"{time.time()!r} {score!r}\n")

    def scores(self) -> list[tuple[float, float]]:
        """(seconds since the start, score) of every epoch, in no order."""
        begin = self.started or 0.0
        lines = [line for path in Path(self.folder).glob("scores-*") for line in path.read_text().splitlines(True)]
        # The last line of a process that was killed may be half a line.
        pairs = [line.split() for line in lines if line.endswith("\n")]
        return [(float(at) - begin, float(score)) for at, score in pairs]
