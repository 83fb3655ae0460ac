"""What it costs to save the members of a cohort: one artifact of all, against one artifact each.

    .venv/bin/python benchmarks/saving.py [--members 64] [--folder .]

Members have 2 x 64 units on the digits. Prints fsyncs, and the best and the median seconds of 9 times, for their
checkpoints and for their models. The folder says which disk is measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

INPUTS, OUTPUTS, TIMES = 64, 10, 9
ROWS = 4  # weights, best weights, two slots of the optimizer

Kind = Literal["checkpoint", "model"]
Content = Callable[[list[int]], Mapping[str, bytes | Path]]


def contents() -> dict[Kind, Content]:
    """Per kind, the files of some trials."""
    from workers.cohorts import files
    from workers.cohorts.layout import Layout
    from workers.data import load
    from workers.trials import keras_files
    from workers.trials.progress import Progress

    layout = Layout(INPUTS, 2, 64, OUTPUTS, False)
    row = np.random.default_rng(0).normal(size=layout.size).astype("float32")
    parts = load({"function": "examples.digits:load"})

    def checkpoint(trials: list[int]) -> Mapping[str, bytes | Path]:
        return files.content({trial: [row] * ROWS for trial in trials}, {trial: Progress() for trial in trials})

    def model(trials: list[int]) -> Mapping[str, bytes | Path]:
        return keras_files.weights({trial: layout.weights(row) for trial in trials}, parts)

    return {"checkpoint": checkpoint, "model": model}


@contextmanager
def counted() -> Iterator[list[Any]]:
    """The file descriptors that are synced to the disk meanwhile."""
    real, seen = os.fsync, list[Any]()

    def fsync(fd: Any) -> None:
        seen.append(fd)
        real(fd)

    os.fsync = fsync
    try:
        yield seen
    finally:
        os.fsync = real


def measured(folder: str, members: int, together: bool, kind: Kind, content: Content) -> tuple[int, list[float]]:
    """Fsyncs of one time, and the seconds of each."""
    from workers.contract import Member, Training
    from workers.trials.checkpoints import Checkpoints
    from workers.trials.gate import Gate

    training = Training(
        study="saving",
        model="mlp",
        loop=False,
        space=None,
        data=None,
        objective="val_loss",
        direction="minimize",
        epochs=TIMES,
        patience=None,
        checkpoint_seconds=0.0,
        artifacts=folder,
    )
    checkpoints = Checkpoints(training)
    lanes = Gate([Member(trial, 1, {"depth": 2, "width": 64}, trial) for trial in range(members)]).lanes
    groups = [lanes] if together else [(lane,) for lane in lanes]
    seconds = []
    for epoch in range(TIMES):
        began = time.perf_counter()
        with counted() as synced:
            for group in groups:
                files = content([lane.member.trial for lane in group])
                checkpoints.save(kind, dict.fromkeys(group, epoch), files)
        seconds.append(time.perf_counter() - began)
    return len(synced), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--folder", default=".")
    options = parser.parse_args()
    for kind, content in contents().items():
        for together in (False, True):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                fsyncs, seconds = measured(folder, options.members, together, kind, content)
            what = "one artifact" if together else "one each"
            times = f"best {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s"
            print(f"{kind:<10} {what:<12} {fsyncs:4} fsyncs, {times}", flush=True)


if __name__ == "__main__":
    main()
